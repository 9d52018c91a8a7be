// Answers that are not whole: a node hangs, a name is too long, or too many questions wait.
import { assert, assertEquals } from "@std/assert";
import { peerTest } from "../peers/require.ts";
import { until } from "../support/until.ts";
import { faultyEngine, natsServer } from "./engines.ts";
import { hubOn, settle } from "./test_hub.ts";

/** A timeout long enough for a busy machine. */
const LONG = { timeout: 20_000 };

Deno.test("hub: a hanging node makes answers incomplete within the timeout, and is removed after five seconds", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  const b = await hubOn(engine);
  b.join({ topics: ["news"] });
  await settle(a, b);
  // No frame from b reaches a any more, so b looks dead to a.
  const dead = Uint8Array.fromHex(b.hub.id);
  engine.fault = (frame) => dead.every((byte, i) => frame[i] === byte) ? [] : [frame];
  const asked = performance.now();
  const presence = await a.calls.presence("news", { timeout: 500 });
  assertEquals([presence.complete, presence.peers], [false, []]);
  assert(performance.now() - asked < 20_000);
  const silent = performance.now();
  await until(async () => (await a.calls.nodes()).nodes.length === 1);
  assert(performance.now() - silent < 30_000);
  assertEquals((await a.calls.presence("news", LONG)).complete, true);
  await b[Symbol.asyncDispose]();
});

peerTest("nats-server", "hub: a name that is too long for the broker does not hide the others", async () => {
  await using server = await natsServer();
  await using a = await hubOn(server);
  await using b = await hubOn(server);
  // The length of the JSON decides: 200,000 characters of a message become 1.2 MB, but NATS carries 1 MiB.
  const tooLong = "\u0001".repeat(200_000);
  const long = "x".repeat(500_000);
  const ordinary = Array.from({ length: 3_000 }, (_, i) => `${i}`.padEnd(100, "x"));
  b.join({ topics: [...ordinary.slice(0, 1_000), tooLong, ...ordinary.slice(1_000), long, `${tooLong}x`] });
  for (const user of ["tom", tooLong, "eve"]) b.join({ user, topics: ["room"] });
  await settle(a, b);
  const started = performance.now();
  const topics = await a.calls.topics("", LONG);
  const presence = await a.calls.presence("room", LONG);
  assert(performance.now() - started < 10_000, "the answers arrive before the timeout");
  assertEquals(topics.topics.map(({ topic }) => topic), [...ordinary, long, "room"].sort());
  assertEquals([presence.peers.length, presence.users], [2, ["tom", "eve"]]);
  for (const { complete, nodes } of [topics, presence]) {
    assertEquals([complete, nodes], [false, { asked: 2, answered: 1 }]);
  }
  assertEquals(b.logged, Array(2).fill("an answer to another node lacks names that exceed the broker's limit"));
  assertEquals((await a.calls.online("tom", LONG)).complete, true);
});

Deno.test("hub: other nodes are not asked while questions of eight million characters wait for answers", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  await using b = await hubOn(engine);
  await settle(a, b);
  engine.fault = () => [];
  const name = (i: number) => `${i}`.padEnd(1024 ** 2, "x");
  const waiting = Promise.all(Array.from({ length: 7 }, (_, i) => a.calls.online(name(i), { timeout: 500 })));
  const first = await Promise.race([a.calls.online(name(7), LONG), waiting]);
  assertEquals(first, { online: false, peers: 0, complete: false, nodes: { asked: 2, answered: 1 } });
  await waiting;
  engine.fault = (frame) => [frame];
  assertEquals((await a.calls.online(name(7), LONG)).complete, true);
});
