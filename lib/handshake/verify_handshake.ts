/**
 * The opening handshake as a verdict (RFC 6455 §4.2), in the order in which a server looks at it. Pure: what is done
 * about the verdict stands in upgrade.ts.
 * @module
 */
import type { Refusal } from "./refusal.ts";
import { parseSubprotocols } from "./subprotocol.ts";

/** A handshake that is in order. */
export interface VerifiedHandshake {
  /** What the client offered, in its order of preference. */
  readonly protocols: readonly string[];
}

/** A handshake, or what is wrong with it; `plain` is no handshake at all but an ordinary request. */
export type HandshakeVerdict =
  | { readonly kind: "upgrade"; readonly accepted: VerifiedHandshake }
  | { readonly kind: "plain" }
  | { readonly kind: "refuse"; readonly refusal: Refusal };

/** The version that this protocol has had since 2011 (§4.1 point 9). */
export const WEBSOCKET_VERSION = "13";

/**
 * Judges a request on a WebSocket path by method and headers alone.
 * The method comes first, then what proxies drop (Upgrade, Connection), then Host, version, key and subprotocols.
 */
export function verifyHandshake(method: string, headers: Headers): HandshakeVerdict {
  const key = headers.get("sec-websocket-key");
  const upgrade = hasToken(headers.get("upgrade"), "websocket");
  if (!upgrade && key === null) return { kind: "plain" };

  if (method !== "GET") {
    return refuse(405, `A WebSocket handshake is a GET, not a ${method}.`, { allow: "GET" });
  }
  if (!upgrade) {
    return refuse(
      426,
      "The request carries Sec-WebSocket-Key but no Upgrade: websocket. A proxy in front drops it: nginx needs " +
        "proxy_http_version 1.1 and proxy_set_header Upgrade $http_upgrade, Apache mod_proxy_wstunnel.",
      { upgrade: "websocket", connection: "Upgrade" },
    );
  }
  if (!hasToken(headers.get("connection"), "upgrade")) {
    return refuse(
      400,
      "The request carries Upgrade: websocket but no Connection: Upgrade. A proxy in front drops it: " +
        'nginx needs proxy_set_header Connection "Upgrade".',
    );
  }
  if (!headers.get("host")) {
    return refuse(400, "A WebSocket handshake names the Host that it asks (RFC 6455 §4.2.1), and this one does not.");
  }
  const version = headers.get("sec-websocket-version");
  if (version !== WEBSOCKET_VERSION) {
    return refuse(426, `Sec-WebSocket-Version must be ${WEBSOCKET_VERSION}, ${given(version)}.`, {
      "sec-websocket-version": WEBSOCKET_VERSION,
      upgrade: "websocket",
      connection: "Upgrade",
    });
  }
  if (key === null || !isKey(key)) {
    return refuse(400, `Sec-WebSocket-Key must be the base64 of 16 bytes, ${given(key)}.`);
  }
  // get, not has: of Deno's own requests has() makes a list that stays as long as the connection (1.1 KiB measured).
  if (headers.get("transfer-encoding") !== null || Number(headers.get("content-length") ?? 0) !== 0) {
    return refuse(400, "A WebSocket handshake has no body.");
  }
  const protocols = parseSubprotocols(headers.get("sec-websocket-protocol"));
  if (protocols === undefined) {
    return refuse(400, "Sec-WebSocket-Protocol must be a list of distinct tokens (RFC 6455 §4.1).");
  }
  return { kind: "upgrade", accepted: { protocols } };
}

function refuse(status: number, reason: string, headers?: Record<string, string>): HandshakeVerdict {
  return { kind: "refuse", refusal: headers ? { status, reason, headers } : { status, reason } };
}

function given(value: string | null): string {
  return value === null ? "and there is none" : `not "${value.slice(0, 64)}"`;
}

/** Whether a comma-separated header holds a token, in any case (RFC 9110 §5.6.1). */
function hasToken(header: string | null, token: string): boolean {
  return header !== null && header.split(",").some((part) => part.trim().toLowerCase() === token);
}

/** 16 bytes in base64 are 22 characters and `==`; the last of the 22 carries four bits only. */
function isKey(key: string): boolean {
  return /^[A-Za-z0-9+/]{21}[AQgw]==$/.test(key);
}
