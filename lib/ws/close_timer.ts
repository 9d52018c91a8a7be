/**
 * How long a peer may take to read or to answer: Deno itself waits for ever.
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** How long a peer may take to answer a close frame, ms. */
const CLOSE_TIMEOUT = 5000;
/**
 * How long a peer that was closed for reading too slowly may go without reading at all, ms. Its buffer is over the limit,
 * and its memory is worth more than a close frame that waits behind it; whoever still reads has a chance to see it.
 */
const STALL_TIMEOUT = 1000;
/** Milliseconds between two measurements of what it has read. */
const MEASURE_EVERY = 200;

/** Whether a peer goes on reading. */
export class ReadProgress {
  readonly #measure: () => number | undefined;
  #last: number | undefined;
  #measuredAt = -Infinity;
  #movedAt: number;

  /** @param measure a number that grows as the peer reads; undefined where nobody knows */
  constructor(measure: () => number | undefined) {
    this.#measure = measure;
    this.#last = measure();
    this.#movedAt = performance.now();
  }

  /** Milliseconds since the peer was last seen to read; 0 where nobody knows. */
  stalledFor(now: number): number {
    if (this.#last === undefined) return 0;
    if (now - this.#measuredAt >= MEASURE_EVERY) {
      this.#measuredAt = now;
      const value = this.#measure();
      if (value !== undefined && value > this.#last) {
        this.#last = value;
        this.#movedAt = now;
      }
    }
    return now - this.#movedAt;
  }
}

/** A close frame that was sent, and the time until its answer. */
export class CloseTimer {
  readonly frame: CloseFrame;
  readonly #deadline: number;
  readonly #progress: ReadProgress | undefined;

  /** @param reading the connection of a peer that must go on reading; undefined: it has all its time */
  constructor(frame: CloseFrame, reading: WatchedConnection | undefined) {
    this.frame = frame;
    this.#progress = reading && new ReadProgress(() => reading.acknowledged());
    this.#deadline = performance.now() + CLOSE_TIMEOUT;
  }

  /** Whether the peer's time is up. */
  over(now: number): boolean {
    return now >= this.#deadline || (this.#progress !== undefined && this.#progress.stalledFor(now) >= STALL_TIMEOUT);
  }
}
