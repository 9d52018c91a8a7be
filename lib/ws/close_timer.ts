/**
 * A close frame on its way, and how long its peer has to answer: Deno itself waits for ever.
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** How long a peer may take to answer, ms. */
const CLOSE_TIMEOUT = 5000;
/**
 * How long a peer that was closed for reading too slowly may go without reading at all, ms. Its buffer is at the limit,
 * and its memory is worth more than a close frame that waits behind it; whoever still reads has a chance to see it.
 */
const STUCK_TIMEOUT = 1000;
/** Milliseconds between two looks at what it has read. */
const LOOK_EVERY = 200;

/** See the module. */
export class CloseTimer {
  readonly frame: CloseFrame;
  readonly #deadline: number;
  /** Set where the peer must go on reading. */
  readonly #reading: WatchedConnection | undefined;
  #acknowledged = -1;
  #movedAt: number;
  #lookAt: number;

  /** @param reading the connection of a peer that must go on reading; undefined: it has all its time */
  constructor(frame: CloseFrame, reading: WatchedConnection | undefined) {
    const now = performance.now();
    this.frame = frame;
    this.#reading = reading;
    this.#deadline = now + CLOSE_TIMEOUT;
    this.#movedAt = this.#lookAt = now;
  }

  /** Whether the peer's time is up. */
  over(now: number): boolean {
    if (now >= this.#deadline) return true;
    if (this.#reading === undefined || now < this.#lookAt) return false;
    this.#lookAt = now + LOOK_EVERY;
    const acknowledged = this.#reading.acknowledged();
    if (acknowledged === undefined) return false;
    if (acknowledged !== this.#acknowledged) {
      this.#acknowledged = acknowledged;
      this.#movedAt = now;
    }
    return now - this.#movedAt >= STUCK_TIMEOUT;
  }
}
