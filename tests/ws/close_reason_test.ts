/** The code and reason that an app's `close` hook receives, for each cause reported by Deno or the watchdog. */
import { assert, assertEquals } from "@std/assert";
import { isSendable } from "../../lib/close_codes.ts";
import type { WatchedConnection } from "../../lib/net/watchdog/watched_connection.ts";
import {
  closeReasonOf,
  fittedFrame,
  HOOK_FAILED,
  NEVER_OPENED,
  NO_PONG,
  OPENED_LATE,
  OVER_BUDGET,
  refusalCauseOf,
  TERMINATED,
  TOKEN_EXPIRED,
  tooSlow,
  USER_LIMIT_REACHED,
  watchdogCloseReason,
} from "../../lib/ws/close_reason.ts";

const closed = (code: number, reason = "", wasClean = false) => new CloseEvent("close", { code, reason, wasClean });
const unresponsive = (yes: boolean) => ({ isPeerUnresponsive: () => yes }) as unknown as WatchedConnection;

Deno.test("reports the client's close frame unchanged", () => {
  assertEquals(closeReasonOf(closed(1000, "bye", true), undefined), { code: 1000, reason: "bye" });
  assertEquals(closeReasonOf(closed(1001, "", true), unresponsive(true)), { code: 1001, reason: "" });
  assertEquals(closeReasonOf(closed(4711, "x", true), undefined), { code: 4711, reason: "x" });
  // A client may send the same reason that Deno gives for an unanswered ping.
  assertEquals(closeReasonOf(closed(1001, NO_PONG, true), undefined), { code: 1001, reason: NO_PONG });
});

Deno.test("reports an unanswered ping, unanswered data and a broken connection as 1006 with a reason", () => {
  const reasons = [
    closeReasonOf(closed(1001, NO_PONG), undefined),
    closeReasonOf(closed(0), unresponsive(true)),
    closeReasonOf(closed(0), unresponsive(false)),
    closeReasonOf(closed(0), undefined),
  ];
  assertEquals(reasons.map(({ code }) => code), [1006, 1006, 1006, 1006]);
  assertEquals(reasons.map(({ reason }) => reason), [
    "no pong: the client did not answer a ping",
    "the client did not acknowledge sent data",
    "the connection ended without a close frame",
    "the connection ended without a close frame",
  ]);
});

Deno.test("reports the cause of a connection that the watchdog ended", () => {
  const otherwise = { code: 1006, reason: "otherwise" };
  assertEquals(watchdogCloseReason(undefined, otherwise), otherwise);
  assertEquals(watchdogCloseReason("handshake", otherwise), otherwise);
  for (const [cause, code] of [["flood", 1008], ["payload", 1009], ["unfinished", 1008], ["memory", 1013]] as const) {
    const told = watchdogCloseReason(cause, otherwise);
    assertEquals([told.code, told.limit], [code, true], cause);
  }
});

Deno.test("every close code that the service uses may be sent, but not 1006", () => {
  for (
    const frame of [TOKEN_EXPIRED, HOOK_FAILED, OVER_BUDGET, USER_LIMIT_REACHED, OPENED_LATE, tooSlow(2 ** 53)]
  ) {
    assert(isSendable(frame.code), frame.reason);
    assertEquals(fittedFrame(frame), frame, "it is cut");
  }
  assertEquals(TERMINATED.code, 1006);
});

Deno.test("truncates a close reason to 123 bytes between characters", () => {
  const { code, reason } = fittedFrame({ code: 1000, reason: "ü".repeat(1_000_000) });
  assertEquals([code, reason], [1000, "ü".repeat(61)]);
});

Deno.test("the metrics count a connection that never opened as refused, by its cause", () => {
  const causes = [USER_LIMIT_REACHED, TOKEN_EXPIRED, NEVER_OPENED, TERMINATED].map(refusalCauseOf);
  assertEquals(causes, ["limit", "token", "gone", "gone"]);
});
