/** How long a peer may take to read or to answer. Times are given, not waited for. */
import { assert, assertEquals } from "@std/assert";
import type { WatchedConnection } from "../../lib/net/watchdog/watched_connection.ts";
import { CloseTimer, ReadProgress } from "../../lib/ws/close_timer.ts";

const FRAME = { code: 1000, reason: "" };

Deno.test("a peer that need not read has five seconds to answer", () => {
  const before = performance.now();
  const timer = new CloseTimer(FRAME, undefined);
  const after = performance.now();
  assertEquals([timer.over(before + 4_999), timer.over(after + 5_000)], [false, true]);
});

Deno.test("a peer that must read has a second from the last time that it did, and five in all", () => {
  let read: number | undefined = 0;
  const connection = { acknowledged: () => read } as unknown as WatchedConnection;
  const timer = new CloseTimer(FRAME, connection);
  const start = performance.now();
  for (let after = 200; after < 4_900; after += 200) {
    read += 10;
    assertEquals(timer.over(start + after), false, `${after} ms`);
  }
  read++;
  assertEquals(timer.over(start + 5_001), true);

  const stuck = new CloseTimer(FRAME, connection);
  const began = performance.now();
  assertEquals([stuck.over(began + 900), stuck.over(began + 1_001)], [false, true]);
});

Deno.test("progress is what changes the measure; it is measured every 200 ms at the most", () => {
  let value: number | undefined = 7;
  let measured = 0;
  const progress = new ReadProgress(() => (measured++, value));
  const start = performance.now();
  assertEquals(measured, 1);
  assert(progress.stalledFor(start + 500) >= 500);
  for (let more = 1; more < 100; more++) progress.stalledFor(start + 500 + more);
  assertEquals(measured, 2);
  value = 8;
  assertEquals(progress.stalledFor(start + 1_000), 0);
  assertEquals(progress.stalledFor(start + 1_150), 150);
});

Deno.test("where nobody can measure, nobody is called stuck", () => {
  const progress = new ReadProgress(() => undefined);
  assertEquals(progress.stalledFor(performance.now() + 3_600_000), 0);
});
