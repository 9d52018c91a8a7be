/**
 * Close codes and reasons (RFC 6455 §7.1.5): translates those of Deno and of the watchdog, and defines the service's own.
 * @module
 */
import { CloseCode, fitReason } from "../close_codes.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { AbortReason } from "../net/watchdog/connection_table.ts";
import type { CloseFrame } from "./inbound_limits.ts";
import type { RefusalCause } from "./service_counters.ts";

/** Deno's close reason for an unanswered ping. */
export const NO_PONG = "No response from ping frame.";

/** The reason of an upgrade without an open event: the client has disconnected, or the event comes late. */
export const NEVER_OPENED: CloseFrame = {
  code: CloseCode.AbnormalClosure,
  reason: "the connection did not open in time",
};

/**
 * Translates Deno's close event. Deno reports an aborted connection as code 0, and an unanswered ping as 1001, as if the
 * client had left. If the peer does not read, pings wait behind the data, and the kernel ends the connection.
 */
export function closeReasonOf(
  { code, reason, wasClean }: CloseEvent,
  connection: WatchedConnection | undefined,
): CloseFrame {
  if (code === CloseCode.GoingAway && reason === NO_PONG && !wasClean) {
    return { code: CloseCode.AbnormalClosure, reason: "no pong: the client did not answer a ping" };
  }
  if (code === 0 && connection?.isPeerUnresponsive()) {
    return { code: CloseCode.AbnormalClosure, reason: "the client did not acknowledge sent data" };
  }
  if (code === 0) return { code: CloseCode.AbnormalClosure, reason: "the connection ended without a close frame" };
  return { code, reason };
}

/** Close frames that the service sends. */
export const TOKEN_EXPIRED: CloseFrame = { code: CloseCode.Unauthorized, reason: "the token has expired" };
export const TERMINATED: CloseFrame = { code: CloseCode.AbnormalClosure, reason: "terminated by the service" };
export const USER_LIMIT_REACHED: CloseFrame = {
  code: CloseCode.PolicyViolation,
  reason: "connection limit of this user reached",
  limit: true,
};
export const OPENED_LATE: CloseFrame = { code: CloseCode.TryAgainLater, reason: "the connection opened too late" };
export const HOOK_FAILED: CloseFrame = { code: CloseCode.InternalError, reason: "internal error" };
export const OVER_BUDGET: CloseFrame = {
  code: CloseCode.TryAgainLater,
  reason: "memory budget exceeded: this client uses the most memory",
  limit: true,
};

/** The close frame for a peer whose send buffer exceeds the limit. */
export function tooSlow(maxBackpressure: number): CloseFrame {
  const reason = `reads too slowly: more than ${maxBackpressure} bytes are waiting`;
  return { code: CloseCode.TryAgainLater, reason, limit: true };
}

/**
 * Truncates the reason of a close frame to the length of RFC 6455 §5.5. Deno passes on reasons of any length (measured:
 * 20 MB), which would otherwise reach the app and the log.
 */
export function fittedFrame(frame: CloseFrame): CloseFrame {
  return { ...frame, reason: fitReason(frame.reason) };
}

const ABORTED: Readonly<Partial<Record<AbortReason, CloseFrame>>> = {
  flood: {
    code: CloseCode.PolicyViolation,
    reason: "frame flood: other clients could not be served",
    limit: true,
  },
  payload: {
    code: CloseCode.MessageTooBig,
    reason: "unfinished message exceeds maxPayload: endless fragments, pings or pongs",
    limit: true,
  },
  unfinished: {
    code: CloseCode.PolicyViolation,
    reason: "a message was not completed in time",
    limit: true,
  },
  memory: {
    code: CloseCode.TryAgainLater,
    reason: "memory budget exceeded: this client has the largest unfinished message",
    limit: true,
  },
};

/** The close frame for a WebSocket that the watchdog ended; `otherwise` if the watchdog did not end it. */
export function watchdogCloseReason(reason: AbortReason | undefined, otherwise: CloseFrame): CloseFrame {
  return (reason && ABORTED[reason]) ?? otherwise;
}

/** The cause by which the metrics count a connection that was closed before the app's `open` hook. */
export function refusalCauseOf({ code, limit }: CloseFrame): RefusalCause {
  if (limit) return "limit";
  return code === CloseCode.Unauthorized ? "token" : "gone";
}
