/**
 * WebSocket clients and raw ones.
 * @module
 */
import { connect as connectTls } from "node:tls";

/** An open WebSocket of Deno's own client. */
export function openSocket(url: string, client?: Deno.HttpClient): Promise<WebSocket> {
  const socket = new WebSocket(url, client === undefined ? {} : { client });
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onopen = () => resolve(socket);
    socket.onerror = (event) => reject(new Error(`${url}: ${(event as ErrorEvent).message}`));
  });
}

/** Sends and waits for what comes back; milliseconds that it took. */
export function echo(socket: WebSocket, data: string | Uint8Array<ArrayBuffer>): Promise<number> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    socket.onmessage = () => resolve(performance.now() - began);
    socket.onclose = ({ code }) => reject(new Error(`closed with ${code}`));
    socket.send(data);
  });
}

/** Resolves with the code when the socket has closed. */
export function closed(socket: WebSocket): Promise<number> {
  if (socket.readyState === WebSocket.CLOSED) return Promise.resolve(0);
  return new Promise((resolve) => socket.onclose = ({ code }) => resolve(code));
}

/**
 * The serial number of the certificate that a new client is shown.
 * @param address where to connect, and what the certificate is for. Default: 127.0.0.1, which serves as `localhost`
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

/** The value that half of the numbers do not exceed. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[numbers.length >> 1]!;
}

/** The head of an upgrade request. */
export function upgradeRequest(path = "/"): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(
    `GET ${path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  );
}

/** A client's frame, masked with zeros. @param head FIN and opcode: 0x81 text, 0x82 binary, 0x8a pong, 0x02 first part */
export function frame(head: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const bytes = new Uint8Array(2 + extended + 4 + length);
  const view = new DataView(bytes.buffer);
  bytes[0] = head;
  bytes[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) view.setUint16(2, length);
  if (extended === 8) view.setBigUint64(2, BigInt(length));
  bytes.set(payload, 6 + extended);
  return bytes;
}

/** A raw connection, over TLS where a CA is given, without Nagle's algorithm on this side. */
export async function dial(port: number, ca?: string): Promise<Deno.Conn> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  connection.setNoDelay(true);
  return ca === undefined ? connection : await Deno.startTls(connection, { hostname: "localhost", caCerts: [ca] });
}

/** Reads so many bytes and throws them away. */
export async function skip(connection: Deno.Conn, bytes: number): Promise<void> {
  const buffer = new Uint8Array(65_536);
  for (let left = bytes; left > 0;) left -= await connection.read(buffer.subarray(0, left)) ?? Infinity;
}

/** Writes all of it; false where the other end has gone. */
export async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<boolean> {
  try {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
    return true;
  } catch {
    return false;
  }
}

/** Reads until `text` has come; what came. */
export async function readUntil(connection: Deno.Conn, text: string): Promise<string> {
  const decoder = new TextDecoder();
  const buffer = new Uint8Array(4096);
  for (let seen = "";;) {
    const count = await connection.read(buffer);
    if (count === null) throw new Error(`the end came after ${JSON.stringify(seen)}`);
    seen += decoder.decode(buffer.subarray(0, count), { stream: true });
    if (seen.includes(text)) return seen;
  }
}

/** An upgraded raw connection. */
export async function dialUpgraded(port: number, ca?: string): Promise<Deno.Conn> {
  const connection = await dial(port, ca);
  await writeAll(connection, upgradeRequest());
  await readUntil(connection, "\r\n\r\n");
  return connection;
}

/** Milliseconds until the other end has ended the connection, or undefined after `patience`. Closes it. */
export async function endOf(connection: Deno.Conn, patience: number): Promise<number | undefined> {
  const began = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((resolve) => timer = setTimeout(() => resolve(undefined), patience));
  const buffer = new Uint8Array(65_536);
  const ended = (async () => {
    try {
      while (await connection.read(buffer) !== null);
    } catch {
      // A reset is an end too.
    }
    return performance.now() - began;
  })();
  const result = await Promise.race([ended, late]);
  clearTimeout(timer);
  try {
    connection.close();
  } catch {
    // It is closed.
  }
  await ended;
  return result;
}
