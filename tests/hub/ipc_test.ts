/** The broker between the workers of one machine: its contract, bursts, and a worker that does not read. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { NODE_BYTES } from "../../lib/hub/broker.ts";
import { MAX_FRAME, openIpc } from "../../lib/hub/brokers/ipc.ts";
import { Kind, WireWriter } from "../../lib/hub/brokers/ipc_frames.ts";
import { IpcServer } from "../../lib/hub/brokers/ipc_server.ts";
import { conformance, node, settle } from "./conformance.ts";
import type { Engine } from "./engines.ts";

interface RelayEngine extends Engine {
  readonly path: string;
  readonly stalls: { count: number };
}

async function relayEngine(): Promise<RelayEngine> {
  const folder = await Deno.makeTempDir({ prefix: "wss-relay-" });
  const path = join(folder, "relay.sock");
  const stalls = { count: 0 };
  const relay = new IpcServer({ path, onStall: () => stalls.count++ });
  return {
    path,
    stalls,
    open: (start) => openIpc(path, start),
    async [Symbol.asyncDispose]() {
      await relay[Symbol.asyncDispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}

conformance("ipc", relayEngine);

Deno.test("ipc: delivers 1,000,000 frames between four nodes without loss and in order", async () => {
  await using engine = await relayEngine();
  const each = 250_000;
  const nodes = await Promise.all([0, 1, 2, 3].map(async (which) => {
    const counts = [0, 0, 0, 0];
    const done = Promise.withResolvers<void>();
    const id = crypto.getRandomValues(new Uint8Array(NODE_BYTES));
    const broker = await engine.open({ node: id, listener: { down: fail, up() {}, problem: fail } });
    let received = 0;
    broker.subscribe("x.t.burst", (frame) => {
      const view = new DataView(frame.buffer, frame.byteOffset + NODE_BYTES);
      const from = view.getUint8(0);
      if (view.getUint32(1) !== counts[from]!++) done.reject(new Error(`frame ${counts[from]} of ${from} is missing`));
      if (++received === 3 * each) done.resolve();
    });
    await broker.flush();
    return { which, id, broker, counts, done };
  }));
  await Promise.all(nodes.map(async ({ which, id, broker }) => {
    for (let i = 0; i < each; i++) {
      const frame = new Uint8Array(NODE_BYTES + 64);
      frame.set(id);
      const view = new DataView(frame.buffer, NODE_BYTES);
      view.setUint8(0, which);
      view.setUint32(1, i);
      assert(broker.publish("x.t.burst", frame));
      // A burst of 25,000 in one turn of the event loop.
      if (i % 25_000 === 0) await broker.flush();
    }
  }));
  await Promise.all(nodes.map(({ done }) => done.promise));
  for (const { which, counts } of nodes) {
    assertEquals(counts, [0, 1, 2, 3].map((from) => from === which ? 0 : each));
  }
  assertEquals(engine.stalls.count, 0);
  for (const { broker } of nodes) await broker[Symbol.asyncDispose]();
});

function fail(reason: string): never {
  throw new Error(reason);
}

Deno.test("ipc: drops a node that does not read, and keeps serving the others", async () => {
  await using engine = await relayEngine();
  await using sender = await node(engine);
  await using receiver = await node(engine);
  receiver.listen("x.t.a");
  await settle(receiver);
  // This connection subscribes and never reads.
  using stuck = await Deno.connect({ transport: "unix", path: engine.path });
  const writer = new WireWriter(stuck);
  writer.write(Kind.subscribe, "x.t.a");
  await writer.drained(10_000);
  const body = new Uint8Array(1024 * 1024);
  for (let i = 0; i < 40; i++) {
    assert(sender.publish("x.t.a", body));
    await settle(sender);
  }
  await receiver.heard(40);
  assertEquals(engine.stalls.count, 1);
  writer.end();
});

Deno.test("ipc: delivers a frame of the maximum length, whatever the length of its channel", async () => {
  await using engine = await relayEngine();
  await using sender = await node(engine);
  await using receiver = await node(engine);
  for (const channel of ["x", "x".repeat(512)]) {
    receiver.listen(channel);
    await settle(sender, receiver);
    const body = new Uint8Array(MAX_FRAME - NODE_BYTES).fill(7);
    assert(sender.publish(channel, body));
    // Rejects if the relay refuses the frame, because it then closes the connection.
    await settle(sender, receiver);
    const [frame] = receiver.frames.splice(0);
    assertEquals([frame!.channel, frame!.body.length, frame!.body.at(-1)], [channel, body.length, 7]);
  }
  assertEquals([sender.told, receiver.told], [[], []]);
});

Deno.test("ipc: refuses a frame that exceeds the maximum length by one byte", async () => {
  await using engine = await relayEngine();
  await using sender = await node(engine);
  assertEquals(sender.publish("x.t.a", new Uint8Array(MAX_FRAME - NODE_BYTES + 1)), false);
  using worker = await Deno.connect({ transport: "unix", path: engine.path });
  const writer = new WireWriter(worker);
  writer.write(Kind.publish, "x.t.a", new Uint8Array(MAX_FRAME + 1));
  assertEquals(await worker.read(new Uint8Array(1)).catch(() => null), null, "the relay closes the connection");
  writer.end();
});

const MiB = 1024 ** 2;

/**
 * Reads this many bytes: 1 MiB a second for longer than a relay that hangs needs to be noticed, then as fast as possible.
 * Ends early if `told` gets an entry.
 */
async function readSlowly(connection: Deno.Conn, bytes: number, told: readonly string[]): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  const started = performance.now();
  for (let received = 0; received < bytes && told.length === 0;) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error(`the connection ended after ${received} of ${bytes} bytes`);
    received += count;
    if (performance.now() - started < 7_000) await new Promise((resolve) => setTimeout(resolve, count / MiB * 1000));
  }
}

/** The bytes of these frames on the wire. */
const onWire = (frames: number, channel: string, body: number) => frames * (7 + channel.length + NODE_BYTES + body);

Deno.test("ipc: a burst reaches a worker that reads slowly, and its publisher stays connected", async () => {
  await Promise.all([burst(384, 64 * 1024), burst(2, 24 * MiB)]);

  async function burst(frames: number, length: number): Promise<void> {
    await using engine = await relayEngine();
    await using sender = await node(engine);
    using slow = await Deno.connect({ transport: "unix", path: engine.path });
    const writer = new WireWriter(slow);
    writer.write(Kind.subscribe, "x.t.a");
    writer.write(Kind.flush, "");
    await slow.read(new Uint8Array(64));
    for (let i = 0; i < frames; i++) assert(sender.publish("x.t.a", new Uint8Array(length)));
    await readSlowly(slow, onWire(frames, "x.t.a", length), sender.told);
    assertEquals([sender.told, engine.stalls.count], [[], 0]);
    await settle(sender);
    writer.end();
  }
});

Deno.test("ipc: a relay that reads slowly is not taken for one that hangs", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-relay-" });
  const path = join(folder, "relay.sock");
  {
    using listener = Deno.listen({ transport: "unix", path });
    await using sender = await node({ open: (start) => openIpc(path, start), async [Symbol.asyncDispose]() {} });
    using relay = await listener.accept();
    for (let i = 0; i < 160; i++) assert(sender.publish("x.t.a", new Uint8Array(64 * 1024)));
    await readSlowly(relay, onWire(160, "x.t.a", 64 * 1024), sender.told);
    assertEquals(sender.told, []);
  }
  await Deno.remove(folder, { recursive: true });
});
