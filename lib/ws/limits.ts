/**
 * How many messages a connection may send, a second and a turn of the event loop. Verdicts only; closing with 1008 is
 * the caller's.
 * @module
 */
import { clearImmediate, setImmediate } from "node:timers";

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

/** How often a connection looks whether the event loop has turned: every this many of its messages, or of their bytes. */
const STRIDE = 1_000;
const STRIDE_BYTES = 8 * 1024 ** 2;
/** What is too much without a turn in between: messages, and bytes. */
const MOST_MESSAGES = 20_000;
const MOST_BYTES = 128 * 1024 ** 2;
/** Messages of the longest kind that are never too much, however long that is. */
const MOST_LONGEST = 4;

/**
 * Tells whether the event loop has turned. While a client floods over TLS, Deno delivers its frames in microtasks and
 * reaches no timer, no immediate and no other socket (measured: 5,084,000 frames in 4.3 s, all in one turn). One
 * immediate, armed only while somebody watches, is the observer: it costs 1.6 µs to arm and runs once in a turn; a
 * timer of 0 ms costs 4.2 µs and runs 2 ms later. Microtasks and promises say nothing: they run within the turn.
 */
export class TurnCounter implements Disposable {
  #turn = 0;
  #armed: ReturnType<typeof setImmediate> | undefined;

  /** The number of the present turn, as far as watched: two equal answers, and the loop did not turn in between. */
  watch(): number {
    this.#armed ??= setImmediate(() => {
      this.#armed = undefined;
      this.#turn++;
    });
    return this.#turn;
  }

  /** Stops watching. */
  [Symbol.dispose](): void {
    if (this.#armed !== undefined) clearImmediate(this.#armed);
    this.#armed = undefined;
  }
}

/**
 * Nobody monopolises the service: finds the connection that sent 20,000 messages (20,999 at the most) or 128 MiB while
 * the event loop could not turn once. Always on. A message costs an addition, a decrement and two comparisons; every
 * thousandth, or every 8 MiB, looks at the turn. A client that waits for answers never meets it, as its next message
 * comes in a later turn; nor does one that spreads its messages over time. Messages of 1 MiB over TLS let the loop turn
 * now and then by themselves, but held it for 0.7 s at a time (measured), which no count of messages sees.
 */
export class TurnBudget {
  readonly #turns: TurnCounter;
  readonly #mostBytes: number;
  #turn = -1;
  /** Until the next look, and since the last. */
  #left = STRIDE;
  #bytes = 0;
  /** In this turn, up to the last look. */
  #messages = 0;
  #heldBytes = 0;

  /**
   * @param turns one for all the connections of a service
   * @param longest bytes that one message may have
   */
  constructor(turns: TurnCounter, longest: number) {
    this.#turns = turns;
    this.#mostBytes = Math.max(MOST_BYTES, longest * MOST_LONGEST);
  }

  /** Counts one message of so many bytes; false when the connection must be closed with 1008. */
  take(bytes: number): boolean {
    this.#bytes += bytes;
    return (--this.#left > 0 && this.#bytes < STRIDE_BYTES) || this.#look();
  }

  #look(): boolean {
    const turn = this.#turns.watch();
    if (turn === this.#turn) {
      this.#messages += STRIDE - this.#left;
      this.#heldBytes += this.#bytes;
    } else {
      this.#turn = turn;
      this.#messages = this.#heldBytes = 0;
    }
    this.#left = STRIDE;
    this.#bytes = 0;
    return this.#messages < MOST_MESSAGES && this.#heldBytes < this.#mostBytes;
  }
}
