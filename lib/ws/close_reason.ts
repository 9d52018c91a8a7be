/**
 * How a connection ended, in the terms of RFC 6455 §7.1.5, whatever Deno or the watchdog calls it.
 * @module
 */
import { CloseCode, fitReason } from "../close_codes.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { AbortReason } from "../net/watchdog/connection_table.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** What Deno says when a ping stays unanswered. */
export const NO_PONG = "No response from ping frame.";

/** An upgrade that never came to its open event. */
export const NEVER_OPENED: CloseFrame = {
  code: CloseCode.AbnormalClosure,
  reason: "the client had gone before the handshake was answered",
};

/**
 * Deno's close event: an aborted connection is code 0 there, an unanswered ping 1001 as if the client had left. No ping
 * gets out behind data that the peer does not take: then it is the kernel that gives up.
 */
export function closeReasonOf(
  { code, reason, wasClean }: CloseEvent,
  connection: WatchedConnection | undefined,
): CloseFrame {
  if (code === CloseCode.GoingAway && reason === NO_PONG && !wasClean) {
    return { code: CloseCode.AbnormalClosure, reason: "no answer to a ping: the client has vanished" };
  }
  if (code === 0 && connection?.vanished()) {
    return { code: CloseCode.AbnormalClosure, reason: "what was sent stayed unanswered: the client has vanished" };
  }
  if (code === 0) return { code: CloseCode.AbnormalClosure, reason: "the connection ended without a close frame" };
  return { code, reason };
}

/** Close frames of the service's own. */
export const TOKEN_EXPIRED: CloseFrame = { code: CloseCode.Unauthorized, reason: "the token has expired" };
export const TERMINATED: CloseFrame = { code: CloseCode.AbnormalClosure, reason: "terminated by the service" };
export const USER_FULL: CloseFrame = {
  code: CloseCode.PolicyViolation,
  reason: "too many connections of this user",
};
export const FAILED: CloseFrame = { code: CloseCode.InternalError, reason: "internal error" };
export const OVER_BUDGET: CloseFrame = {
  code: CloseCode.TryAgainLater,
  reason: "the service is short of memory, and more waits for this client than for others",
  limit: true,
};

/** For a peer with more unsent than the limit. */
export function tooSlow(maxBackpressure: number): CloseFrame {
  const reason = `reads too slowly: over ${maxBackpressure} bytes wait`;
  return { code: CloseCode.TryAgainLater, reason, limit: true };
}

/**
 * A close frame as far as RFC 6455 §5.5 lets it be: Deno passes on reasons of any length (measured: 20 MB), which would
 * otherwise reach the app and the log.
 */
export function fittedFrame(frame: CloseFrame): CloseFrame {
  return { ...frame, reason: fitReason(frame.reason) };
}

const ABORTED: Readonly<Partial<Record<AbortReason, CloseFrame>>> = {
  flood: {
    code: CloseCode.PolicyViolation,
    reason: "flooded the service with frames, and nobody else was served",
    limit: true,
  },
  payload: {
    code: CloseCode.MessageTooBig,
    reason: "more came without a whole message than one may have: fragments without end, or pings or pongs",
    limit: true,
  },
  unfinished: {
    code: CloseCode.PolicyViolation,
    reason: "a message was not whole in time",
    limit: true,
  },
  memory: {
    code: CloseCode.TryAgainLater,
    reason: "the service is short of memory, and this client has sent the most of an unfinished message",
    limit: true,
  },
};

/** How the watchdog's end of a WebSocket is told; `otherwise` where it was not the watchdog. */
export function watchdogCloseReason(reason: AbortReason | undefined, otherwise: CloseFrame): CloseFrame {
  return (reason && ABORTED[reason]) ?? otherwise;
}
