/**
 * Requests written by hand, for answers that a WebSocket client does not show.
 * @module
 */
import { dial, readUntil, writeAll } from "../net/clients.ts";

/** A WebSocket handshake with these further headers. */
export function handshake(headers: Readonly<Record<string, string>> = {}): string {
  return request("/", {
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
    ...headers,
  });
}

/** A GET over HTTP/1.1. */
export function request(path: string, headers: Readonly<Record<string, string>> = {}): string {
  const lines = Object.entries({ Host: "localhost", ...headers }).map(([name, value]) => `${name}: ${value}`);
  return [`GET ${path} HTTP/1.1`, ...lines, "", ""].join("\r\n");
}

/** Sends a request over a connection that stays open; the head of the answer. The body must be in the same segment. */
export async function exchange(connection: Deno.Conn, text: string): Promise<string> {
  await writeAll(connection, new TextEncoder().encode(text));
  return await readUntil(connection, "\r\n\r\n");
}

/** Connects, over TLS where an authority's certificate (PEM) is given, asks, and closes; the head of the answer. */
export async function ask(port: number, ca: string | undefined, text: string): Promise<string> {
  const connection = await dial(port, ca);
  try {
    return await exchange(connection, text);
  } finally {
    connection.close();
  }
}

/** Whether a new TCP connection is refused; one that is reset came to a listener that was just closing. */
export async function isRefused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return true;
    if (error instanceof Deno.errors.ConnectionReset) return false;
    throw error;
  }
}
