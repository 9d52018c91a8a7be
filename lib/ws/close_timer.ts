/**
 * Timeouts of the close handshake. Deno itself waits without limit.
 * @module
 */
import { CLOSE_TIMEOUT, MAX_CLOSE_TIME } from "../net/watchdog/watchdog_rules.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { CloseFrame } from "./inbound_limits.ts";

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

  /** Whether the progress can be measured. */
  get known(): boolean {
    return this.#last !== undefined;
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

/**
 * A sent close frame and the time for its answer: `CLOSE_TIMEOUT`, which begins again while the peer still reads what
 * was sent before the frame, up to `MAX_CLOSE_TIME`.
 */
export class CloseTimer {
  readonly frame: CloseFrame;
  readonly #deadline: number;
  readonly #stallTimeout: number;
  readonly #progress: ReadProgress | undefined;

  /**
   * @param connection its progress is not measured if this is undefined or has ended; the time then does not begin again
   * @param slow whether the peer is closed because it reads too slowly; it gets only `CLOSE_TIMEOUT`, and less if it
   * stops reading
   */
  constructor(frame: CloseFrame, connection: Pick<WatchedConnection, "acknowledged"> | undefined, slow = false) {
    this.frame = frame;
    this.#progress = connection && new ReadProgress(() => connection.acknowledged());
    this.#stallTimeout = slow ? STALL_TIMEOUT : CLOSE_TIMEOUT;
    this.#deadline = performance.now() + (this.#progress?.known && !slow ? MAX_CLOSE_TIME : CLOSE_TIMEOUT);
  }

  /** Whether the time has passed. */
  isExpired(now: number): boolean {
    return now >= this.#deadline || (this.#progress?.stalledFor(now) ?? 0) >= this.#stallTimeout;
  }
}
