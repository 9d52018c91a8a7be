import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { CloseTimer, ReadProgress } from "../../lib/ws/close_timer.ts";
import { Opcode, textFrame } from "../support/frames.ts";
import { dialUpgraded, writeAll } from "../support/raw.ts";
import { serving } from "../support/serving.ts";
import { readSlowly } from "./slow_reader.ts";

const SIZE = 4 * 1024 ** 2;
/** The client's pauses in milliseconds. It needs at least 7.5 seconds in total. */
const PAUSE = 120;

for (const mode of ["direct", "proxied"] as const) {
  Deno.test(`a slow client gets a long message and the close frame behind it, after more than 5 s (${mode})`, async () => {
    const ended = Promise.withResolvers<unknown>();
    const app = defineApp({
      message(peer) {
        peer.send(new Uint8Array(SIZE));
        peer.close(4000, "done");
      },
      close: (_peer, details) => ended.resolve(details),
    });
    await using served = await serving(app, { mode });
    using conn = await dialUpgraded(served.raw);
    await writeAll(conn, textFrame("send"));
    const begun = performance.now();
    const frames: number[][] = [];
    for await (const { opcode, payload } of readSlowly(conn, PAUSE)) {
      frames.push([opcode, payload.length]);
      if (opcode === Opcode.Close) break;
    }
    assertEquals(frames, [[Opcode.Binary, SIZE], [Opcode.Close, 6]]);
    assert(performance.now() - begun > 6_000, "the client was not slow");
    conn.close();
    assertEquals(await ended.promise, { code: 4000, reason: "done" });
  });
}

/** Asks a timer each second. Returns the second in which it expires. The peer reads up to the second `readsUntil`. */
function expiry(slow: boolean, readsUntil: number | undefined): number {
  const begun = performance.now();
  let acknowledged = 0;
  const connection = readsUntil === undefined ? undefined : { acknowledged: () => acknowledged };
  const timer = new CloseTimer({ code: 1000, reason: "" }, connection, slow);
  for (let second = 1;; second++) {
    if (readsUntil !== undefined && second <= readsUntil) acknowledged++;
    // The timer was created a little later than `begun`.
    if (timer.isExpired(begun + second * 1_000 + 50)) return second;
  }
}

Deno.test("the time to answer a close frame begins again while the peer reads, up to one minute", () => {
  assertEquals(expiry(false, 0), 5);
  assertEquals(expiry(false, 20), 25);
  assertEquals(expiry(false, 1_000), 60);
});

Deno.test("a peer that was closed for reading slowly gets 5 s, and less if it stops reading", () => {
  assertEquals(expiry(true, 1_000), 5);
  assertEquals(expiry(true, 2), 3);
});

Deno.test("the time to answer a close frame is 5 s if the progress cannot be measured", () => {
  assertEquals(expiry(false, undefined), 5);
});

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
