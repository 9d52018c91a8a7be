/**
 * Backpressure of one peer: when its `drain` hook is due, and whether it still reads.
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import { ReadProgress } from "./close_timer.ts";
import type { SendBuffer } from "./send_buffer.ts";

/**
 * The state of a peer's backpressure. `done`: there is none. `waiting`: the buffer is not yet empty. `drained`: the buffer is
 * empty, so `drain` is due. `stalled`: the buffer exceeds its limit and the peer does not read.
 */
export type BackpressureState = "done" | "waiting" | "drained" | "stalled";

/** Created for the first send that exceeds half of the send buffer's limit. */
export class Backpressure {
  readonly #sendBuffer: Pick<SendBuffer, "over" | "buffered" | "left">;
  readonly #connection: Pick<WatchedConnection, "acknowledged"> | undefined;
  readonly #stallTimeout: number;
  /** Whether `send` returned false, so that `drain` is due. */
  #drainDue = false;
  /** Set while the send buffer exceeds its limit. */
  #progress: ReadProgress | undefined;

  /** @param stallTimeout milliseconds for which the buffer may exceed its limit while the peer does not read */
  constructor(
    sendBuffer: Pick<SendBuffer, "over" | "buffered" | "left">,
    connection: Pick<WatchedConnection, "acknowledged"> | undefined,
    stallTimeout: number,
  ) {
    this.#sendBuffer = sendBuffer;
    this.#connection = connection;
    this.#stallTimeout = stallTimeout;
  }

  /**
   * Handles a send for which `send` returns false.
   * @returns whether the backpressure began, so that it must be polled
   */
  add(status: "wait" | "over"): boolean {
    if (status === "over") {
      this.#progress ??= new ReadProgress(() => this.#connection?.acknowledged() ?? this.#sendBuffer.left);
    }
    if (this.#drainDue) return false;
    this.#drainDue = true;
    return true;
  }

  /** Returns the current state. `drained` is returned once. */
  poll(now: number): BackpressureState {
    if (this.#progress !== undefined) {
      if (!this.#sendBuffer.over) this.#progress = undefined;
      else if (this.#progress.stalledFor(now) >= this.#stallTimeout) return "stalled";
    }
    if (!this.#drainDue) return this.#progress === undefined ? "done" : "waiting";
    if (this.#sendBuffer.buffered > 0) return "waiting";
    this.#drainDue = false;
    return "drained";
  }
}
