/**
 * Timeouts of the close handshake. Deno itself waits without limit.
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** Milliseconds within which a peer must answer a close frame. */
const CLOSE_TIMEOUT = 5000;
/**
 * Milliseconds without any reading after which a peer that was closed for reading too slowly is aborted. Its close frame
 * waits behind a full buffer; freeing that memory matters more. A peer that still reads can receive the frame.
 */
const STALL_TIMEOUT = 1000;
/** Milliseconds between two measurements of the progress. */
const MEASURE_INTERVAL = 200;

/** Measures whether a peer continues to read. */
export class ReadProgress {
  readonly #measure: () => number | undefined;
  #last: number | undefined;
  #measuredAt = -Infinity;
  #progressAt: number;

  /** @param measure returns a number that grows as the peer reads, or undefined if unknown */
  constructor(measure: () => number | undefined) {
    this.#measure = measure;
    this.#last = measure();
    this.#progressAt = performance.now();
  }

  /** Milliseconds since the last observed progress; 0 if unknown. */
  stalledFor(now: number): number {
    if (this.#last === undefined) return 0;
    if (now - this.#measuredAt >= MEASURE_INTERVAL) {
      this.#measuredAt = now;
      const value = this.#measure();
      if (value !== undefined && value > this.#last) {
        this.#last = value;
        this.#progressAt = now;
      }
    }
    return now - this.#progressAt;
  }
}

/** A sent close frame and the deadline of its answer. */
export class CloseTimer {
  readonly frame: CloseFrame;
  readonly #deadline: number;
  readonly #progress: ReadProgress | undefined;

  /** @param reading the connection, if the peer must continue to read; undefined: only the deadline applies */
  constructor(frame: CloseFrame, reading: WatchedConnection | undefined) {
    this.frame = frame;
    this.#progress = reading && new ReadProgress(() => reading.acknowledged());
    this.#deadline = performance.now() + CLOSE_TIMEOUT;
  }

  /** Whether the deadline has passed. */
  isExpired(now: number): boolean {
    return now >= this.#deadline || (this.#progress !== undefined && this.#progress.stalledFor(now) >= STALL_TIMEOUT);
  }
}
