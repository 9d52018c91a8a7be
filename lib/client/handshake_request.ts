/**
 * The opening handshake as a client writes and reads it (RFC 6455 §4.1), with nothing of the answer hidden.
 * @module
 */
import type { RawConnection } from "./raw_connection.ts";
import type { Target } from "../check/check_target.ts";

/** The head of an HTTP answer. */
export interface Head {
  /** `HTTP/1.1` */
  readonly version: string;
  readonly status: number;
  /** Values by lower-case name, in order. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  /** What came behind the head. */
  readonly rest: Uint8Array<ArrayBuffer>;
}

/** What came in place of a head. */
export interface NoHead {
  readonly kind: "cut" | "garbage";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** The longest head that is read, in bytes. */
const MOST_HEAD = 64 * 1024;

/** How much of a refusal's body is read, in bytes, and how long it is waited for, in milliseconds. */
const MOST_BODY = 4096;

/** Text to bytes, one a character: header fields are Latin-1 at most. */
function latin1Bytes(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

/** Bytes to text, one a character. */
export function latin1Text(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += 4096) text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  return text;
}

/** A random Sec-WebSocket-Key. */
export function newKey(): string {
  return btoa(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16))));
}

/** The Sec-WebSocket-Accept that answers a key (§4.2.2). */
export async function acceptFor(key: string): Promise<string> {
  const bytes = new TextEncoder().encode(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
  return btoa(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-1", bytes))));
}

/** Writes the request. A header of the options replaces one of the same name that would be sent anyway. */
export function writeUpgrade(target: Target, key: string): Uint8Array<ArrayBuffer> {
  const { headers = [], origin, subprotocols = [] } = target.options;
  const own: [string, string][] = [
    ["Host", target.url.host],
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
  return latin1Bytes(`GET ${target.url.pathname}${target.url.search} HTTP/1.1\r\n${lines.join("")}\r\n`);
}

/** Reads the answer's head; bounded in size, and in time by the signal. */
export async function readHead(connection: RawConnection, signal: AbortSignal): Promise<Head | NoHead> {
  let bytes = new Uint8Array(0);
  while (true) {
    const chunk = await connection.read(signal);
    if (chunk === undefined) return { kind: bytes.length === 0 ? "cut" : "garbage", bytes };
    const searched = Math.max(0, bytes.length - 3);
    const joined = new Uint8Array(bytes.length + chunk.length);
    joined.set(bytes);
    joined.set(chunk, bytes.length);
    bytes = joined;
    const start = latin1Text(bytes.subarray(0, 5));
    if (!"HTTP/".startsWith(start)) return { kind: "garbage", bytes };
    const end = latin1Text(bytes.subarray(searched)).indexOf("\r\n\r\n");
    if (end >= 0) return parseHead(bytes, searched + end) ?? { kind: "garbage", bytes };
    if (bytes.length > MOST_HEAD) return { kind: "garbage", bytes };
  }
}

function parseHead(bytes: Uint8Array<ArrayBuffer>, end: number): Head | undefined {
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

/** The beginning of a refusal's body, as far as it has come when the signal aborts. */
export async function readBody(connection: RawConnection, head: Head, signal: AbortSignal): Promise<string> {
  const declared = Number(head.headers.get("content-length")?.[0] ?? NaN);
  const enough = Math.min(MOST_BODY, Number.isNaN(declared) ? MOST_BODY : declared);
  let text = latin1Text(head.rest.subarray(0, MOST_BODY));
  try {
    while (text.length < enough) {
      const chunk = await connection.read(signal);
      if (chunk === undefined) break;
      text += latin1Text(chunk.subarray(0, MOST_BODY));
    }
  } catch {
    // What has come is what there is to show.
  }
  return text.slice(0, MOST_BODY);
}
