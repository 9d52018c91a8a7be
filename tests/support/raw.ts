/**
 * Exact bytes over TCP or TLS, and the head of what comes back: for what no client library would send.
 * @module
 */

/** The key of RFC 6455 §1.3, and the answer that it must get. */
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

/** What came back. */
export interface RawResponse {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

/** Changes to the one valid request: a header's new value, or null for a header that is left out. */
export interface Changes {
  readonly method?: string;
  readonly target?: string;
  readonly version?: string;
  readonly headers?: Readonly<Record<string, string | null>>;
}

/** The headers of the one valid handshake. */
export const VALID: Readonly<Record<string, string>> = {
  Host: "localhost",
  Upgrade: "websocket",
  Connection: "Upgrade",
  "Sec-WebSocket-Key": KEY,
  "Sec-WebSocket-Version": "13",
};

/** The one valid handshake, with changes. */
export function handshake({ method = "GET", target = "/", version = "HTTP/1.1", headers = {} }: Changes = {}): string {
  const lines = Object.entries({ ...VALID, ...headers }).filter(([, value]) => value !== null);
  return [`${method} ${target} ${version}`, ...lines.map(([name, value]) => `${name}: ${value}`), "", ""].join("\r\n");
}

/** Milliseconds after which a connection that neither answers nor ends is a failure. */
const PATIENCE = 20_000;

/**
 * Sends bytes on a connection of their own and reads one response.
 * @returns undefined where the connection was closed without one
 * @throws {Error} where neither comes
 */
export async function rawExchange(target: RawTarget, request: string | Uint8Array): Promise<RawResponse | undefined> {
  const { port, hostname = "127.0.0.1", ca } = target;
  const conn = ca === undefined
    ? await Deno.connect({ hostname, port })
    : await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca], alpnProtocols: ["http/1.1"] });
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    conn.close();
  }, PATIENCE);
  try {
    await writeAll(conn, typeof request === "string" ? latin1(request) : request);
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

/** The answer of a service that is expected to give one. */
export async function rawResponse(target: RawTarget, request: string | Uint8Array): Promise<RawResponse> {
  const response = await rawExchange(target, request);
  if (response === undefined) throw new Error("the connection was closed without an answer");
  return response;
}

async function writeAll(conn: Deno.Conn, bytes: Uint8Array): Promise<void> {
  try {
    for (let written = 0; written < bytes.length;) written += await conn.write(bytes.subarray(written));
  } catch (error) {
    // It may answer and close before it has read all.
    if (!isReset(error)) throw error;
  }
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

function isReset(error: unknown): boolean {
  return error instanceof Deno.errors.ConnectionReset || error instanceof Deno.errors.ConnectionAborted ||
    error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.UnexpectedEof;
}

/** One byte a character, so that any byte can be written in a string. */
function latin1(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
