/** A broker that stays connected, or stays unreachable, for a long time keeps no memory. */
import { assert } from "@std/assert";
import { join } from "node:path";
import { NODE_BYTES } from "../../lib/hub/broker.ts";
import { Kind, WireWriter } from "../../lib/hub/brokers/ipc_frames.ts";
import { ReconnectingBroker } from "../../lib/hub/brokers/reconnect.ts";
import { peerTest } from "../peers/require.ts";
import { collectGarbage, usedHeap } from "../support/heap.ts";
import { node } from "./conformance.ts";
import { natsServer, redisServer } from "./engines.ts";

for (const [name, start] of [["nats", natsServer], ["redis", redisServer]] as const) {
  peerTest(`${name}-server`, `broker ${name}: a flush that has finished keeps no memory`, async () => {
    await using server = await start();
    await using a = await node(server);
    const flush = async (count: number) => {
      for (let i = 0; i < count; i += 100) {
        await Promise.all(Array.from({ length: 100 }, () => a.broker.flush()));
      }
    };
    await flush(2_000);
    const before = usedHeap();
    await flush(10_000);
    const grown = usedHeap() - before;
    // A promise that is kept for each flush has about 500 bytes.
    assert(grown < 2_000_000, `${grown} bytes for 10,000 flushes`);
  });
}

Deno.test("broker: a failed attempt to connect keeps no memory", async () => {
  const attempts: WeakRef<AbortSignal>[] = [];
  const enough = Promise.withResolvers<void>();
  const refuse = (_problem: unknown, signal: AbortSignal) => {
    if (attempts.push(new WeakRef(signal)) === 200) enough.resolve();
    return Promise.reject(new Error("refused"));
  };
  const listener = { down() {}, up() {}, problem() {} };
  const servers = [{ name: "refusing", connect: refuse }];
  await using _broker = await ReconnectingBroker.open(servers, { node: new Uint8Array(NODE_BYTES), listener }, {
    optional: true,
    minDelay: 1,
    maxDelay: 1,
  });
  await enough.promise;
  await new Promise((resolve) => setTimeout(resolve));
  collectGarbage();
  const kept = attempts.filter((attempt) => attempt.deref() !== undefined).length;
  assert(kept < 20, `${kept} of ${attempts.length} attempts are kept`);
});

Deno.test("broker ipc: waiting for a worker that never catches up keeps no memory", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-relay-" });
  const path = join(folder, "relay.sock");
  {
    using listener = Deno.listen({ transport: "unix", path });
    using connection = await Deno.connect({ transport: "unix", path });
    using _reader = await listener.accept();
    const writer = new WireWriter(connection);
    writer.write(Kind.publish, "x.t.a", new Uint8Array(8 * 1024 ** 2));
    const wait = (count: number) => Promise.all(Array.from({ length: count }, () => writer.drained(1)));
    await wait(1_000);
    const before = usedHeap();
    await wait(20_000);
    const grown = usedHeap() - before;
    assert(writer.waiting > 0);
    assert(grown < 1_000_000, `${grown} bytes for 20,000 waits`);
    writer.end();
  }
  await Deno.remove(folder, { recursive: true });
});
