/**
 * Many connections, a few at a time.
 * @module
 */
import { dialUpgraded, type RawTarget } from "../support/raw.ts";

/** Concurrent handshakes: enough to keep the server busy, but far fewer than in the burst case. */
const AT_ONCE = 64;

/** Opens a number of WebSocket connections. */
export async function connectMany(target: RawTarget, count: number): Promise<Deno.Conn[]> {
  const conns: Deno.Conn[] = [];
  let left = count;
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, async () => {
    while (left-- > 0) conns.push(await dialUpgraded(target));
  }));
  return conns;
}
