/**
 * How a connection ended, in the terms of RFC 6455 §7.1.5, whatever Deno or the guard calls it.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import type { Reason } from "../net/guard_table.ts";
import type { CloseFrame } from "./intake.ts";

/** What Deno says when a ping stays unanswered. */
export const NO_PONG = "No response from ping frame.";

/** Deno's close event: an aborted connection is code 0 there, an unanswered ping 1001 as if the client had left. */
export function endingOf({ code, reason, wasClean }: CloseEvent): CloseFrame {
  if (code === CloseCode.GoingAway && reason === NO_PONG && !wasClean) {
    return { code: CloseCode.AbnormalClosure, reason: "no answer to a ping: the client has vanished" };
  }
  if (code === 0) return { code: CloseCode.AbnormalClosure, reason: "the connection ended without a close frame" };
  return { code, reason };
}

/** What the guard cut off, of those connections that were WebSockets; undefined: it was not the guard. */
export function guardEnding(reason: Reason | undefined, otherwise: CloseFrame): CloseFrame {
  if (reason === "flood") {
    return { code: CloseCode.PolicyViolation, reason: "flooded the service with frames, and nobody else was served" };
  }
  if (reason === "payload") {
    return { code: CloseCode.MessageTooBig, reason: "a message in fragments grew beyond the limit" };
  }
  return otherwise;
}
