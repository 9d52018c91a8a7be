import { assertEquals } from "@std/assert";
import { ReadProgress } from "../../lib/ws/close_timer.ts";

Deno.test("a peer counts as reading only while the number of acknowledged bytes grows", () => {
  const begun = performance.now();
  let value: number | undefined = 10;
  const progress = new ReadProgress(() => value);
  const stalled = (at: number) => Math.round(progress.stalledFor(begun + at) / 1_000);
  assertEquals(stalled(3_000), 3);
  value = 11;
  assertEquals(stalled(4_000), 0);
  value = 5;
  assertEquals([stalled(5_000), stalled(9_000)], [1, 5]);
  value = 12;
  // The timer measures five times per second.
  assertEquals([stalled(9_100), stalled(9_300)], [5, 0]);
});

Deno.test("a peer gets the whole timeout if its progress is unknown", () => {
  const progress = new ReadProgress(() => undefined);
  assertEquals(progress.stalledFor(performance.now() + 60_000), 0);
});
