/**
 * Verifies the opening handshake (RFC 6455 section 4.2). A pure function: lib/http and lib/ws act on the result.
 * @module
 */
import type { Refusal } from "./refusal.ts";
import { parseList, parseSubprotocols } from "./subprotocol.ts";

/** A valid handshake with its offered subprotocols, a refusal, or an ordinary request (`plain`). */
export type HandshakeVerdict =
  | { readonly kind: "upgrade"; readonly offered: readonly string[] }
  | { readonly kind: "plain" }
  | { readonly kind: "refuse"; readonly refusal: Refusal };

/** The protocol version since 2011 (section 4.1, point 9). */
export const WEBSOCKET_VERSION = "13";

/**
 * Verifies a request on a WebSocket path by its method and headers. Checks the method first, then the headers that proxies
 * drop (Upgrade, Connection), then Host, version, key and subprotocols.
 */
export function verifyHandshake(method: string, headers: Headers): HandshakeVerdict {
  const key = headers.get("sec-websocket-key");
  const upgrade = headers.get("upgrade");
  const protocols = parseList(upgrade).map((token) => token.toLowerCase());
  if (!protocols.includes("websocket") && key === null) return { kind: "plain" };

  if (method !== "GET") {
    return refuse(405, `A WebSocket handshake must use GET, not ${method}.`, { allow: "GET" });
  }
  if (upgrade === null && headers.get("connection") === null && headers.get("host") === null) {
    return refuse(
      400,
      "The request came over HTTP/2, but this service accepts WebSocket over HTTP/1.1 only. Let the client offer only " +
        "http/1.1 in ALPN (curl --http1.1; undici: allowH2: false), or let the proxy use HTTP/1.1 to this service.",
    );
  }
  if (!protocols.includes("websocket")) {
    return refuse(
      426,
      "The request has Sec-WebSocket-Key but no Upgrade: websocket. A proxy may have removed it: nginx needs " +
        "proxy_http_version 1.1 and proxy_set_header Upgrade $http_upgrade; Apache needs mod_proxy_wstunnel.",
      { upgrade: "websocket", connection: "Upgrade" },
    );
  }
  // If h2c precedes websocket, Deno creates a connection that cannot be upgraded, and the attempt ends the process.
  // The client may offer any other protocol in addition to websocket, and the server chooses (RFC 9110, section 7.8).
  if (protocols.some((protocol) => protocol.startsWith("h2c"))) {
    return refuse(400, `Upgrade must offer websocket without h2c, but ${describe(upgrade)}.`);
  }
  if (!parseList(headers.get("connection")).some((token) => token.toLowerCase() === "upgrade")) {
    return refuse(
      400,
      "The request has Upgrade: websocket but no Connection: Upgrade. A proxy may have removed it: " +
        'nginx needs proxy_set_header Connection "Upgrade".',
    );
  }
  if (!headers.get("host")) {
    return refuse(400, "A WebSocket handshake requires a Host header (RFC 6455, section 4.2.1).");
  }
  const version = headers.get("sec-websocket-version");
  if (version !== WEBSOCKET_VERSION) {
    return refuse(426, `Sec-WebSocket-Version must be ${WEBSOCKET_VERSION}, but ${describe(version)}.`, {
      "sec-websocket-version": WEBSOCKET_VERSION,
      upgrade: "websocket",
      connection: "Upgrade",
    });
  }
  if (key === null || !isValidKey(key)) {
    return refuse(400, `Sec-WebSocket-Key must be 16 bytes in base64, but ${describe(key)}.`);
  }
  // `get` instead of `has`: in Deno's own requests `has` creates a list that lives as long as the connection (1.1 KiB).
  if (headers.get("transfer-encoding") !== null || Number(headers.get("content-length") ?? 0) !== 0) {
    return refuse(400, "A WebSocket handshake must not have a body.");
  }
  const offered = parseSubprotocols(headers.get("sec-websocket-protocol"));
  if (offered === undefined) {
    return refuse(400, "Sec-WebSocket-Protocol must be a list of distinct tokens (RFC 6455, section 4.1).");
  }
  return { kind: "upgrade", offered };
}

function refuse(status: number, reason: string, headers?: Record<string, string>): HandshakeVerdict {
  return { kind: "refuse", refusal: headers ? { status, reason, headers } : { status, reason } };
}

function describe(value: string | null): string {
  return value === null ? "is missing" : `is "${value.slice(0, 64)}"`;
}

/**
 * 16 bytes in base64 are 22 characters and `==`. Only two bits of the last character are used. The other four should be
 * zero, but not every client does that (nor does the example in section 4.1). The decoded bytes are the same.
 */
function isValidKey(key: string): boolean {
  return /^[A-Za-z0-9+/]{22}==$/.test(key);
}
