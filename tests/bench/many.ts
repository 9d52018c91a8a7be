/**
 * Many connections, a few at a time.
 * @module
 */
import { connectWebSocket, type Target } from "./wire.ts";

/** Handshakes under way at once: enough to keep the server busy, far from a burst. */
const AT_ONCE = 64;

/** Opens so many WebSockets. */
export async function connectMany(target: Target, count: number): Promise<Deno.TlsConn[]> {
  const conns: Deno.TlsConn[] = [];
  let left = count;
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, async () => {
    while (left-- > 0) conns.push(await connectWebSocket(target));
  }));
  return conns;
}
