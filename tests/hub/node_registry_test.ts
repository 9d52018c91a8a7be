import { assertEquals } from "@std/assert";
import { NodeRegistry } from "../../lib/hub/node_registry.ts";
import { until } from "../support/until.ts";
import { faultyEngine } from "./engines.ts";
import { hubOn, settle, type TestHub } from "./test_hub.ts";

Deno.test("hub: counts what a node published while it was silent, although other nodes published and left meanwhile", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  await using b = await hubOn(engine);
  await using c = await hubOn(engine);
  const peer = a.join({ topics: ["news"] });
  const leaving = await hubOn(engine);
  await settle(a, b, c, leaving);
  const knows = ({ hub }: TestHub) => a.hub.cluster!.nodes.some(({ id }) => id === hub.id);
  const silent = Uint8Array.fromHex(b.hub.id);
  for (const publisher of [b, c]) publisher.calls.publish("news", "before");
  await until(() => peer.got.length === 2);
  engine.fault = (frame) => silent.every((byte, i) => frame[i] === byte) ? [] : [frame];
  await until(() => !knows(b));
  b.calls.publish("news", "lost");
  await leaving[Symbol.asyncDispose]();
  await until(() => !knows(leaving));
  c.calls.publish("news", "meanwhile");
  await until(() => peer.got.length === 3);
  engine.fault = (frame) => [frame];
  b.calls.publish("news", "after");
  await until(() => peer.got.length === 4);
  assertEquals(a.hub.info().counts!.missed, 1);
  await until(() => a.gaps.length > 0);
  assertEquals(a.gaps, [{ namespace: "", topics: ["news"] }]);
});

Deno.test("node registry: a silent node is removed after five seconds, and forgotten after an hour", () => {
  const nodes = new NodeRegistry();
  const info = (id: string) => ({ id, started: 0, peers: 0 });
  let now = 0;
  const elapse = (seconds: number) => {
    let changed = false;
    for (let i = 0; i < seconds; i++) changed = nodes.expire(now += 1000) || changed;
    return changed;
  };
  elapse(1);
  for (const id of ["silent", "back", "left"]) nodes.record(info(id), now);
  assertEquals([elapse(5), [...nodes.ids]], [false, ["silent", "back", "left"]]);
  assertEquals([elapse(1), [...nodes.ids]], [true, []]);
  assertEquals([...nodes.remembered].sort(), ["back", "left", "silent"]);
  nodes.delete("left");
  nodes.record(info("back"), now);
  assertEquals([[...nodes.ids], [...nodes.remembered].sort()], [["back"], ["back", "silent"]]);
  assertEquals([elapse(3599), [...nodes.remembered].sort()], [true, ["back", "silent"]]);
  assertEquals([elapse(2), [...nodes.remembered].sort()], [true, ["back"]]);
});

Deno.test("node registry: at most 1,000 silent nodes are remembered", () => {
  const nodes = new NodeRegistry();
  nodes.expire(0);
  for (let id = 0; id < 1001; id++) nodes.record({ id: `${id}`, started: 0, peers: 0 }, id);
  for (let now = 1000; now <= 8000; now += 1000) nodes.expire(now);
  assertEquals([nodes.all, [...nodes.remembered].length, [...nodes.remembered][0]], [[], 1000, "1"]);
});
