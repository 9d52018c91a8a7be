/**
 * Close codes (RFC 6455 §7.4 and the IANA registry), and which of them a close frame may carry.
 * @module
 */

/** Registered close codes by name (https://www.iana.org/assignments/websocket). */
export const CloseCode = {
  NormalClosure: 1000,
  GoingAway: 1001,
  ProtocolError: 1002,
  UnsupportedData: 1003,
  NoStatusReceived: 1005,
  AbnormalClosure: 1006,
  InvalidPayload: 1007,
  PolicyViolation: 1008,
  MessageTooBig: 1009,
  MandatoryExtension: 1010,
  InternalError: 1011,
  ServiceRestart: 1012,
  TryAgainLater: 1013,
  BadGateway: 1014,
  TlsHandshake: 1015,
  Unauthorized: 3000,
  Forbidden: 3003,
  Timeout: 3008,
} as const;

const MEANINGS: Readonly<Record<number, string>> = {
  1000: "normal closure",
  1001: "going away",
  1002: "protocol error",
  1003: "unsupported data",
  1005: "no status received",
  1006: "abnormal closure: the connection ended without a close frame",
  1007: "invalid payload",
  1008: "policy violation",
  1009: "message too big",
  1010: "mandatory extension missing",
  1011: "internal error",
  1012: "service restart",
  1013: "try again later",
  1014: "bad gateway",
  1015: "TLS handshake failed",
  3000: "unauthorized",
  3003: "forbidden",
  3008: "timeout",
};

/** The meaning of a close code, in words. */
export function closeMeaning(code: number): string {
  const known = MEANINGS[code];
  if (known !== undefined) return known;
  if (code >= 4000 && code <= 4999) return "private to the application";
  if (code >= 3000 && code <= 3999) return "registered by a library or framework";
  return "not a valid close code";
}

/** Whether a close frame may carry the code: not 1005, 1006 or 1015, nor an unregistered code below 3000 (§7.4.1). */
export function isSendable(code: number): boolean {
  return Number.isInteger(code) &&
    ((code >= 1000 && code <= 1014 && code !== 1004 && code !== 1005 && code !== 1006) ||
      (code >= 3000 && code <= 4999));
}

const encoder = new TextEncoder();

/** Truncates a reason to the 123 UTF-8 bytes that fit into a close frame (§5.5), never inside a character. */
export function fitReason(reason: string): string {
  if (encoder.encode(reason).length <= 123) return reason;
  const bytes = new Uint8Array(123);
  const { read } = encoder.encodeInto(reason, bytes);
  return reason.slice(0, read);
}
