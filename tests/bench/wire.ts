/**
 * A WebSocket client's side of the wire, bare: requests, masked frames made beforehand, frame headers. The load
 * generator works with these so that it costs less than what it measures.
 * @module
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Opcodes of RFC 6455 §5.2. */
export const Opcode = { Continuation: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const;

/** Where a server is, and the authority that its certificate comes from. */
export interface Target {
  readonly port: number;
  /** PEM. */
  readonly ca: string;
}

/** The handshake of a client that wants nothing special. */
export function upgradeRequest(path = "/"): Uint8Array<ArrayBuffer> {
  return encoder.encode(
    [
      `GET ${path} HTTP/1.1`,
      "Host: localhost",
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
      "\r\n",
    ].join("\r\n"),
  );
}

/** How a frame may differ from a whole, masked one with the shortest length. */
export interface FrameFlags {
  readonly fin?: boolean;
  /** The three reserved bits, as a number from 0 to 7. */
  readonly reserved?: number;
  /** What the header says; default: the payload's own length. */
  readonly length?: number;
}

/** A masked frame. The key is constant: it is there to be undone, not to be secret. */
export function maskedFrame(opcode: number, payload: Uint8Array, flags: FrameFlags = {}): Uint8Array<ArrayBuffer> {
  const { fin = true, reserved = 0, length = payload.length } = flags;
  const key = [0x37, 0xfa, 0x21, 0x3d];
  const size = length < 126 ? [length] : length < 65_536 ? [126, length >> 8, length & 255] : [127, ...bytesOf(length)];
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode, 0x80 | size[0]!, ...size.slice(1), ...key];
  const frame = new Uint8Array(head.length + payload.length);
  frame.set(head);
  for (let i = 0; i < payload.length; i++) frame[head.length + i] = payload[i]! ^ key[i & 3]!;
  return frame;
}

function bytesOf(length: number): number[] {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, BigInt(length));
  return [...new Uint8Array(bytes.buffer)];
}

/** The frame that a server sends for a payload: not masked. */
export function serverFrame(opcode: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  const frame = new Uint8Array(1 + size.length + payload.length);
  frame.set([0x80 | opcode, ...size]);
  frame.set(payload, 1 + size.length);
  return frame;
}

/** The same bytes so many times. */
export function repeated(bytes: Uint8Array, times: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

/** Text of so many bytes. */
export function textOf(size: number): Uint8Array {
  return encoder.encode("0123456789abcdef".repeat(Math.ceil(size / 16)).slice(0, size));
}

/** Writes all of it. */
export async function writeAll(conn: Deno.Conn, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await conn.write(bytes.subarray(written));
}

/**
 * A TLS connection without a request. No session is resumed: each call is a full handshake. TCP_NODELAY is set before
 * it, which `Deno.connectTls` never does: the generator's own stalls would be taken for the server's.
 */
export async function connectTls({ port, ca }: Target): Promise<Deno.TlsConn> {
  const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
  tcp.setNoDelay(true);
  const conn = await Deno.startTls(tcp, { hostname: "127.0.0.1", caCerts: [ca] });
  try {
    await conn.handshake();
  } catch (error) {
    conn.close();
    throw error;
  }
  return conn;
}

/**
 * Connects and upgrades.
 * @throws {Error} when the answer is not 101, with its first line.
 */
export async function connectWebSocket(target: Target, path?: string): Promise<Deno.TlsConn> {
  const conn = await connectTls(target);
  try {
    await writeAll(conn, upgradeRequest(path));
    const head = await readHead(conn);
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`no upgrade: ${head.split("\r\n")[0]}`);
  } catch (error) {
    conn.close();
    throw error;
  }
  return conn;
}

/** Reads a response's head, to the empty line. What follows it would be lost: servers here send nothing unasked. */
export async function readHead(conn: Deno.Conn): Promise<string> {
  const buffer = new Uint8Array(4096);
  let text = "";
  while (!text.includes("\r\n\r\n")) {
    const length = await conn.read(buffer);
    if (length === null) throw new Error(`the connection ended in the head: ${JSON.stringify(text)}`);
    text += decoder.decode(buffer.subarray(0, length), { stream: true });
  }
  return text;
}

/** Closes, whatever state it is in. */
export function closeQuietly(conn: Deno.Conn): void {
  try {
    conn.close();
  } catch {
    // It had ended already.
  }
}
