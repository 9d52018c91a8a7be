/**
 * The client's opening handshake (RFC 6455 section 4.1): encodes the request, and reads the raw response.
 * @module
 */
import type { RawConnection } from "./raw_connection.ts";

/** A client's handshake request. */
export interface HandshakeRequest {
  readonly url: URL;
  /** Additional headers. A header with the name of a default header replaces it. */
  readonly headers?: readonly (readonly [name: string, value: string])[];
  readonly origin?: string;
  /** Subprotocols to offer, in order of preference. */
  readonly subprotocols?: readonly string[];
}

/** The head of an HTTP response. */
export interface ResponseHead {
  /** `HTTP/1.1` */
  readonly version: string;
  readonly status: number;
  /** Values by lower-case name, in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** Bytes that were read after the head. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** No response: the connection ended before the first byte (`closed`), or the bytes are not HTTP (`not-http`). */
export interface NoResponse {
  readonly kind: "closed" | "not-http";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The longest response head that is read, in bytes. */
const MAX_HEAD = 64 * 1024;

/** How much of a response body is read, in bytes. */
const MAX_BODY = 4096;

/** Encodes text as Latin-1, the widest encoding of header fields. */
function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Decodes bytes as Latin-1. */
export function latin1Text(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** A random Sec-WebSocket-Key. */
export function newKey(): string {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
}

/** The Sec-WebSocket-Accept for a key (section 4.2.2). */
export async function acceptFor(key: string): Promise<string> {
  const bytes = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-1", bytes))));
}

/** The bytes of the request. */
export function encodeRequest(request: HandshakeRequest, key: string): Uint8Array<ArrayBuffer> {
  const { url, headers = [], origin, subprotocols = [] } = request;
  const own: [string, string][] = [
    ["Host", url.host],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Key", key],
    ["Sec-WebSocket-Version", "13"],
  ];
  if (origin !== undefined) own.push(["Origin", origin]);
  if (subprotocols.length > 0) own.push(["Sec-WebSocket-Protocol", subprotocols.join(", ")]);
  const given = new Set(headers.map(([name]) => name.toLowerCase()));
  const lines = [...own.filter(([name]) => !given.has(name.toLowerCase())), ...headers]
    .map(([name, value]) => `${name}: ${value}\r\n`);
  return latin1Bytes(`GET ${url.pathname}${url.search} HTTP/1.1\r\n${lines.join("")}\r\n`);
}

/**
 * Reads the head of the final response. Skips interim responses (100, 103: RFC 9110 section 15.2).
 * @throws the signal's reason if it aborts first
 */
export async function readHead(connection: RawConnection, signal: AbortSignal): Promise<ResponseHead | NoResponse> {
  let bytes = new Uint8Array(0);
  let searched = 0;
  while (true) {
    const start = latin1Text(bytes.subarray(0, 5));
    if (!"HTTP/".startsWith(start)) return { kind: "not-http", bytes };
    const end = latin1Text(bytes.subarray(searched)).indexOf("\r\n\r\n");
    if (end >= 0) {
      const head = parseHead(bytes, searched + end);
      if (head === undefined) return { kind: "not-http", bytes };
      if (head.status >= 200 || head.status === 101) return head;
      bytes = head.rest;
      searched = 0;
      continue;
    }
    if (bytes.length > MAX_HEAD) return { kind: "not-http", bytes };
    const chunk = await connection.read(signal);
    if (chunk === undefined) return { kind: bytes.length === 0 ? "closed" : "not-http", bytes };
    searched = Math.max(0, bytes.length - 3);
    const joined = new Uint8Array(bytes.length + chunk.length);
    joined.set(bytes);
    joined.set(chunk, bytes.length);
    bytes = joined;
  }
}

function parseHead(bytes: Uint8Array<ArrayBuffer>, end: number): ResponseHead | undefined {
  const [first = "", ...lines] = latin1Text(bytes.subarray(0, end)).split("\r\n");
  const status = /^(HTTP\/\d\.\d) (\d{3})(?: .*)?$/.exec(first);
  if (!status) return undefined;
  const headers = new Map<string, string[]>();
  for (const line of lines) {
    const colon = line.indexOf(":");
    if (colon <= 0) return undefined;
    const name = line.slice(0, colon).toLowerCase();
    headers.set(name, [...headers.get(name) ?? [], line.slice(colon + 1).trim()]);
  }
  return { version: status[1]!, status: Number(status[2]), headers, rest: bytes.slice(end + 4) };
}

/** The beginning of a response body: up to 4096 bytes of what arrives before it ends or the signal aborts. */
export async function readBody(connection: RawConnection, head: ResponseHead, signal: AbortSignal): Promise<string> {
  const declared = Number(head.headers.get("content-length")?.[0] ?? NaN);
  const chunked = head.headers.get("transfer-encoding")?.some((value) => /chunked/i.test(value)) ?? false;
  const enough = Math.min(MAX_BODY, Number.isNaN(declared) ? MAX_BODY : declared);
  let text = latin1Text(head.rest.subarray(0, MAX_BODY));
  try {
    while (text.length < enough && !(chunked && /(^|\r\n)0\r\n(.+\r\n)*\r\n$/.test(text))) {
      const chunk = await connection.read(signal);
      if (chunk === undefined) break;
      text += latin1Text(chunk.subarray(0, MAX_BODY));
    }
  } catch {
    // What has come by then is what there is to show.
  }
  const bytes = Uint8Array.from((chunked ? dechunked(text) : text).slice(0, enough), (one) => one.charCodeAt(0));
  return new TextDecoder().decode(bytes);
}

/** The data of a chunked body (RFC 9112 section 7.1), as far as it came. */
function dechunked(text: string): string {
  let data = "";
  for (let at = 0; at < text.length;) {
    const line = /^([0-9a-f]+)[^\r\n]*\r\n/i.exec(text.slice(at, at + 100));
    const size = parseInt(line?.[1] ?? "0", 16);
    if (line === null || size === 0) break;
    at += line[0].length;
    data += text.slice(at, at + size);
    at += size + 2;
  }
  return data;
}
