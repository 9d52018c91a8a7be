/**
 * How many messages a connection may send. Verdicts only; closing with 1008 is the caller's.
 * @module
 */

/** A burst may be this many milliseconds' worth of messages: twice the rate per second. */
const BURST_MS = 2000;

/**
 * One connection's message rate: a token bucket of `rate` messages a second that holds twice as many. It is kept as one
 * number, the moment at which the bucket would be full again (the generic cell rate algorithm, ITU-T I.371), so that it
 * is exact without a timer. Reading the clock is most of its cost (94 ns measured, against some 8 µs for an echo), so
 * make one only where a rate is set.
 */
export class MessageRate {
  /** Milliseconds that one message takes from the bucket. */
  readonly #cost: number;
  /** How far ahead of now `#fullAt` may be. A hundredth of a message covers the rounding of the sums. */
  readonly #most: number;
  #fullAt = -Infinity;

  /**
   * @param rate messages a second, at least 1
   * @throws {RangeError} for any other
   */
  constructor(rate: number) {
    if (!(rate >= 1 && rate < Infinity)) {
      throw new RangeError(`Cannot limit messages: a rate of at least 1 a second is needed, not ${rate}`);
    }
    this.#cost = 1000 / rate;
    this.#most = BURST_MS + this.#cost / 100;
  }

  /**
   * Counts one message; false when it is one too many (which then costs nothing).
   * @param now milliseconds of a clock that never goes back: `performance.now()`
   */
  take(now: number): boolean {
    const fullAt = (this.#fullAt > now ? this.#fullAt : now) + this.#cost;
    if (fullAt - now > this.#most) return false;
    this.#fullAt = fullAt;
    return true;
  }
}
