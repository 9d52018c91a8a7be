/**
 * The message rate of a connection. It only counts; the caller closes with 1008.
 * @module
 */

/** The longest burst, in milliseconds of messages: twice the rate per second. */
const BURST_MS = 2000;

/**
 * The message rate of one connection: a token bucket of `rate` messages per second that holds twice as many. It stores one
 * number, the time at which the bucket would be full again (the generic cell rate algorithm, ITU-T I.371), so it is exact
 * without a timer. Reading the clock is most of its cost (94 ns measured; an echo takes some 8 µs), so create it only if a
 * rate is set.
 */
export class MessageRate {
  /** Milliseconds that one message removes from the bucket. */
  readonly #cost: number;
  /** The maximum number of milliseconds between now and `#fullAt`. A hundredth of a message allows for rounding errors. */
  readonly #maxAhead: number;
  #fullAt = -Infinity;

  /**
   * @param rate messages per second, at least 1
   * @throws {RangeError} if the rate is below 1
   */
  constructor(rate: number) {
    if (!(rate >= 1 && rate < Infinity)) {
      throw new RangeError(`Cannot limit messages: a rate of at least 1 per second is required, not ${rate}`);
    }
    this.#cost = 1000 / rate;
    this.#maxAhead = BURST_MS + this.#cost / 100;
  }

  /**
   * Counts one message. Returns false if it exceeds the rate; such a message removes nothing from the bucket.
   * @param now milliseconds of a monotonic clock: `performance.now()`
   */
  take(now: number): boolean {
    const fullAt = (this.#fullAt > now ? this.#fullAt : now) + this.#cost;
    if (fullAt - now > this.#maxAhead) return false;
    this.#fullAt = fullAt;
    return true;
  }
}
