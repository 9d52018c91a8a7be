/**
 * A client on a slow line.
 * @module
 */
import { type Frame, FrameReader } from "../../lib/client/frames.ts";

const PART = 65_536;

/**
 * Yields the frames that arrive, until the connection ends. Pauses after each 64 KiB.
 * @param pause in milliseconds
 */
export async function* readSlowly(conn: Deno.Conn, pause: number): AsyncGenerator<Frame> {
  const reader = new FrameReader(64 * 1024 ** 2);
  const buffer = new Uint8Array(PART);
  for (let unpaused = 0;;) {
    const count = await conn.read(buffer).catch(() => null);
    if (count === null) return;
    reader.push(buffer.slice(0, count));
    for (let frame; (frame = reader.next()) !== undefined;) yield frame;
    if ((unpaused += count) < PART) continue;
    unpaused -= PART;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}
