/**
 * Sends raw bytes over TCP or TLS and reads the answers. Tests use it for input that client libraries cannot send and
 * for output that they do not show.
 * @module
 */
import { connect as connectTls } from "node:tls";
import { textFrame } from "./frames.ts";

/** The example key of RFC 6455 §1.3, and the accept value that it requires. */
export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
export const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** Where to connect. */
export interface RawTarget {
  readonly port: number;
  /** Default 127.0.0.1. */
  readonly hostname?: string;
  /** PEM of an authority: TLS. */
  readonly ca?: string;
}

/** A response. */
export interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Changes to the valid request, by header: the new value, or null to omit the header. */
export interface Changes {
  readonly method?: string;
  readonly target?: string;
  readonly version?: string;
  readonly headers?: Readonly<Record<string, string | null>>;
}

/** The headers of the valid handshake. */
export const VALID: Readonly<Record<string, string>> = {
  Host: "localhost",
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Key": KEY,
  "Sec-WebSocket-Version": "13",
};

/** The valid handshake, with changes applied. */
export function handshake({ method = "GET", target = "/", version = "HTTP/1.1", headers = {} }: Changes = {}): string {
  return requestOf(`${method} ${target} ${version}`, { ...VALID, ...headers });
}

/** A plain GET over HTTP/1.1. */
export function request(path: string, headers: Readonly<Record<string, string | null>> = {}): string {
  return requestOf(`GET ${path} HTTP/1.1`, { Host: "localhost", ...headers });
}

function requestOf(first: string, headers: Readonly<Record<string, string | null>>): string {
  const lines = Object.entries(headers).filter(([, value]) => value !== null);
  return [first, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

/**
 * Opens a connection, with TLS if an authority is given. Completes the TLS handshake, and disables Nagle's algorithm on
 * this side.
 */
export async function dial({ port, hostname = "127.0.0.1", ca }: RawTarget): Promise<Deno.Conn> {
  const tcp = await Deno.connect({ hostname, port });
  tcp.setNoDelay(true);
  if (ca === undefined) return tcp;
  const conn = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [ca] });
  try {
    await conn.handshake();
  } catch (error) {
    closeQuietly(conn);
    throw error;
  }
  return conn;
}

/**
 * Opens a connection and upgrades it.
 * @throws {Error} with the first line of the response if the status is not 101
 */
export async function dialUpgraded(target: RawTarget, path = "/"): Promise<Deno.Conn> {
  return await upgrade(await dial(target), path);
}

/** Like `dialUpgraded`, to a unix socket. */
export async function dialUpgradedUnix(path: string): Promise<Deno.Conn> {
  return await upgrade(await Deno.connect({ transport: "unix", path }), "/");
}

async function upgrade(conn: Deno.Conn, path: string): Promise<Deno.Conn> {
  try {
    const head = await exchange(conn, handshake({ target: path }));
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`no upgrade: ${head.split("\r\n")[0]}`);
    return conn;
  } catch (error) {
    closeQuietly(conn);
    throw error;
  }
}

/** Sends a message to an app that returns it, and reads the echo. @throws {Error} if the connection has ended */
export async function exchangeEcho(conn: Deno.Conn): Promise<void> {
  await writeAll(conn, textFrame("hi"));
  await readUntil(conn, "hi");
}

/** Writes all of the data. Each character of a text becomes one byte, so that a string can contain any byte. */
export async function writeAll(conn: Deno.Conn, data: string | Uint8Array): Promise<void> {
  const bytes = typeof data === "string" ? latin1(data) : data;
  for (let written = 0; written < bytes.length;) written += await conn.write(bytes.subarray(written));
}

/** Writes all of the data. Returns false if the other end has closed the connection. */
export async function tryWrite(conn: Deno.Conn, data: string | Uint8Array): Promise<boolean> {
  try {
    await writeAll(conn, data);
    return true;
  } catch {
    return false;
  }
}

/** Reads until `text` arrives. Returns all that was read, including bytes after `text` from the same read. */
export async function readUntil(conn: Deno.Conn, text: string): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  let seen = "";
  while (!seen.includes(text)) {
    const count = await conn.read(buffer);
    if (count === null) throw new Error(`the end came after ${JSON.stringify(seen)}`);
    seen += decoder.decode(buffer.subarray(0, count), { stream: true });
  }
  return seen;
}

/** Reads the head of a response, up to the empty line. */
export function readHead(conn: Deno.Conn): Promise<string> {
  return readUntil(conn, "\r\n\r\n");
}

/** Reads and discards the given number of bytes. @throws {Error} if the stream ends before that */
export async function skip(conn: Deno.Conn, bytes: number): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let left = bytes; left > 0;) {
    const count = await conn.read(buffer.subarray(0, left));
    if (count === null) throw new Error(`the end came ${left} bytes too early`);
    left -= count;
  }
}

/** Sends a request over a connection that stays open. Returns the head of the response. */
export async function exchange(conn: Deno.Conn, text: string): Promise<string> {
  await tryWrite(conn, text);
  return await readHead(conn);
}

/** Connects, sends a request and closes. Returns the head of the response. */
export async function ask(target: RawTarget, text: string): Promise<string> {
  const conn = await dial(target);
  try {
    return await exchange(conn, text);
  } finally {
    closeQuietly(conn);
  }
}

/** Closes a connection in any state. */
export function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // The connection is already closed.
  }
}

/**
 * Waits until the other end closes the connection, then closes it on this side.
 * @returns the wait in milliseconds, or undefined if it exceeds `patience`
 */
export async function endOf(conn: Deno.Conn, patience: number): Promise<number | undefined> {
  const began = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), patience));
  const buffer = new Uint8Array(65_536);
  const ended = (async () => {
    try {
      while (await conn.read(buffer) !== null);
    } catch {
      // A reset also ends the connection.
    }
    return performance.now() - began;
  })();
  const result = await Promise.race([ended, late]);
  clearTimeout(timer);
  closeQuietly(conn);
  await ended;
  return result;
}

/** Whether a new TCP connection is refused. One that is reset was accepted before the listener closed. */
export async function isRefused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    if (isReset(error)) return false;
    throw error;
  }
}

/**
 * The serial number of the certificate that the server presents to a new client.
 * @param address the address and the host name of the server. Default: 127.0.0.1 with the name `localhost`
 */
export function serialOf(port: number, ca: string, address?: string): Promise<string> {
  const target = address === undefined ? { host: "127.0.0.1", servername: "localhost" } : { host: address };
  return new Promise((resolve, reject) => {
    const socket = connectTls({ ...target, port, ca }, () => {
      const { serialNumber } = socket.getPeerCertificate();
      socket.once("close", () => resolve(serialNumber.toLowerCase()));
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

/** The time in milliseconds within which a connection must answer or end. */
const PATIENCE = 20_000;

/**
 * Sends bytes on a new connection and reads one response.
 * @returns undefined if the connection closes without a response
 * @throws {Error} if the connection neither answers nor closes
 */
export async function rawExchange(target: RawTarget, request: string | Uint8Array): Promise<RawResponse | undefined> {
  const conn = await dial(target);
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    conn.close();
  }, PATIENCE);
  try {
    // The service may answer and close before it has read all the bytes.
    await tryWrite(conn, request);
    return await readResponse(conn);
  } catch (error) {
    if (late) throw new Error(`no answer within ${PATIENCE} ms to ${JSON.stringify(request.slice(0, 200))}`);
    if (!isReset(error)) throw error;
    return undefined;
  } finally {
    clearTimeout(timer);
    if (!late) conn.close();
  }
}

/** Sends bytes and returns the response. A missing response is an error. */
export async function rawResponse(target: RawTarget, request: string | Uint8Array): Promise<RawResponse> {
  const response = await rawExchange(target, request);
  if (response === undefined) throw new Error("the connection was closed without an answer");
  return response;
}

async function readResponse(conn: Deno.Conn): Promise<RawResponse | undefined> {
  const buffer = new Uint8Array(16_384);
  let text = "";
  const more = async (): Promise<boolean> => {
    const read = await conn.read(buffer);
    if (read !== null) text += String.fromCharCode(...buffer.subarray(0, read));
    return read !== null;
  };
  let end: number;
  while ((end = text.indexOf("\r\n\r\n")) < 0) if (!await more()) return undefined;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(first)?.[1]);
  const headers = new Headers(lines.map((line): [string, string] => {
    const colon = line.indexOf(":");
    return [line.slice(0, colon), line.slice(colon + 1).trim()];
  }));
  const length = status === 101 ? 0 : Number(headers.get("content-length") ?? Infinity);
  while (text.length - end - 4 < length) if (!await more()) break;
  const bytes = Uint8Array.from(text.slice(end + 4), (character) => character.charCodeAt(0));
  return { status, headers, body: new TextDecoder().decode(bytes) };
}

/** Whether the other end reset the connection. `Deno.connect` fails with NotConnected if that happens right away. */
export function isReset(error: unknown): boolean {
  const { BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof } = Deno.errors;
  return [BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof].some((kind) =>
    error instanceof kind
  );
}

function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
