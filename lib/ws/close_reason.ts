/**
 * How a connection ended, in the terms of RFC 6455 §7.1.5, whatever Deno or the watchdog calls it.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { AbortReason } from "../net/watchdog/connection_table.ts";
import type { Peer } from "./app_types.ts";
import type { CloseFrame } from "./inbound_limits.ts";
import type { PeerDependencies } from "./peer_dependencies.ts";

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

/** What the watchdog cut off, of those connections that were WebSockets; undefined: it was not the watchdog. */
export function watchdogCloseReason(reason: AbortReason | undefined, otherwise: CloseFrame): CloseFrame {
  if (reason === "flood") {
    const reason = "flooded the service with frames, and nobody else was served";
    return { code: CloseCode.PolicyViolation, reason, limit: true };
  }
  if (reason === "payload") {
    const reason = "more came without a whole message than one may have: fragments without end, or pings or pongs";
    return { code: CloseCode.MessageTooBig, reason, limit: true };
  }
  return otherwise;
}

/**
 * Logs an end: at debug, and at info too where a limit of the operator's brought it about.
 * @param error what Deno did not like
 */
export function logClose({ access, notices }: PeerDependencies, peer: Peer, ending: CloseFrame, error?: string): void {
  const { code, limit } = ending;
  const reason = ending.reason || undefined;
  access.debug("closed", { peer: peer.id, code, reason, error });
  if (limit) notices.info("a limit ended a connection", { peer: peer.id, code, reason, address: peer.remoteAddress });
}
