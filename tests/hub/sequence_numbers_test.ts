import { assertEquals, assertNotStrictEquals, assertStrictEquals } from "@std/assert";
import { Counters } from "../../lib/hub/sequence_numbers.ts";

const MIB = 1024 ** 2;

Deno.test("counters: the oldest are dropped beyond 65,536 keys and beyond eight million characters of keys", () => {
  const ofMany = new Counters((key) => key);
  const oldest = ofMany.of("first");
  for (let i = 1; i < 65_536; i++) ofMany.of(`${i}`);
  assertStrictEquals(ofMany.of("first"), oldest);
  ofMany.of("one more");
  assertNotStrictEquals(ofMany.of("first"), oldest);

  const ofLong = new Counters(() => "channel");
  const first = ofLong.of("first");
  for (let i = 0; i < 7; i++) ofLong.of(`${i}`.padEnd(MIB, "x"));
  assertStrictEquals(ofLong.of("first"), first);
  ofLong.of("7".padEnd(MIB, "x"));
  const second = ofLong.of("first");
  assertNotStrictEquals(second, first);
  assertEquals([second.next, second.epoch > first.epoch], [0, true]);
});

Deno.test("counters: a key that alone exceeds the limit has a counter that is not kept", () => {
  const counters = new Counters(() => "channel");
  const long = "x".repeat(9 * MIB);
  const one = counters.of(long);
  assertEquals([one.next, counters.of(long).epoch > one.epoch], [0, true]);
  const short = counters.of("short");
  assertStrictEquals(counters.of("short"), short);
});
