/** The broker of the workers of one machine: the contract, bursts, and a worker that takes nothing. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { openIpc } from "../../lib/hub/brokers/ipc.ts";
import { Kind, WireWriter } from "../../lib/hub/brokers/ipc_frames.ts";
import { Relay } from "../../lib/hub/brokers/ipc_relay.ts";
import { asUint32, conformance, node, settle, uint32 } from "./conformance.ts";
import type { Engine } from "./engines.ts";

interface RelayEngine extends Engine {
  readonly path: string;
  readonly stalls: { count: number };
}

async function relayEngine(): Promise<RelayEngine> {
  const folder = await Deno.makeTempDir({ prefix: "wss-relay-" });
  const path = join(folder, "relay.sock");
  const stalls = { count: 0 };
  const relay = new Relay({ path, onStall: () => stalls.count++ });
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

Deno.test("ipc: 200,000 frames in bursts from three nodes to a fourth: none is lost, each node's are in order", async () => {
  await using engine = await relayEngine();
  await using receiver = await node(engine);
  receiver.listen("x.t.burst");
  await settle(receiver);
  const senders = await Promise.all([0, 1, 2].map(() => node(engine)));
  const count = 66_000;
  await Promise.all(senders.map(async (sender, which) => {
    for (let i = 0; i < count; i++) {
      assert(sender.publish("x.t.burst", uint32(which * count + i)));
      if (i % 5000 === 0) await settle(sender);
    }
  }));
  await receiver.heard(senders.length * count);
  const next = [0, count, 2 * count];
  for (const { body } of receiver.frames) {
    const number = asUint32(body);
    assertEquals(number, next[Math.floor(number / count)]!++);
  }
  for (const sender of senders) await sender[Symbol.asyncDispose]();
});

Deno.test("ipc: a node that takes nothing is cut off, and the others go on", async () => {
  await using engine = await relayEngine();
  await using sender = await node(engine);
  await using receiver = await node(engine);
  receiver.listen("x.t.a");
  await settle(receiver);
  // Subscribed, and never read.
  using stuck = await Deno.connect({ transport: "unix", path: engine.path });
  const writer = new WireWriter(stuck);
  writer.write(Kind.subscribe, "x.t.a");
  await writer.drained();
  const body = new Uint8Array(1024 * 1024);
  for (let i = 0; i < 40; i++) {
    assert(sender.publish("x.t.a", body));
    await settle(sender);
  }
  await receiver.heard(40);
  assertEquals(engine.stalls.count, 1);
  writer.end();
});
