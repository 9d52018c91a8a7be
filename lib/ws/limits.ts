/**
 * The counts and rates of one service: how many connections it takes, and how many messages each of them may send.
 * Verdicts only; answering 503 and closing with 1008 is the caller's.
 * @module
 */
import { clearImmediate, setImmediate } from "node:timers";
import { addressKey, canonicalAddress } from "../ip.ts";

/** How many connections are taken at once. */
export interface AdmissionLimits {
  /** In all. Undefined: unlimited. */
  readonly maxConnections?: number | undefined;
  /** From one client address, an IPv6 address counting by its /64. 0, the default, is unlimited. */
  readonly maxConnectionsPerAddress?: number;
}

/** One admitted connection. It counts until `release`, which may be called any number of times. */
export interface Slot {
  readonly ok: true;
  release(): void;
}

/** Why a connection is not admitted: answer 503 with Retry-After, before the upgrade. */
export interface AdmissionRefusal {
  readonly ok: false;
  readonly status: 503;
  /** The option that was reached. */
  readonly limit: "maxConnections" | "maxConnectionsPerAddress";
  /** Its value. */
  readonly most: number;
  /** For the Retry-After header, in seconds. */
  readonly retryAfter: number;
  /** For the body and the log. Names no address. */
  readonly reason: string;
}

/** Connections end within seconds on a busy service; a shorter wait would only bring the crowd back at once. */
const RETRY_AFTER = 10;

/**
 * Counts open connections, in all and by client. Its memory is bounded by what is open: a client's entry goes with its
 * last connection.
 */
export class Admission {
  readonly #most: number;
  readonly #mostPerAddress: number;
  readonly #perAddress = new Map<string, number>();
  #open = 0;

  constructor(limits: AdmissionLimits) {
    this.#most = limits.maxConnections ?? Infinity;
    this.#mostPerAddress = limits.maxConnectionsPerAddress || Infinity;
  }

  /** Connections that count now. */
  get open(): number {
    return this.#open;
  }

  /** Clients (addresses, /64 networks) that have a connection now. */
  get clients(): number {
    return this.#perAddress.size;
  }

  /**
   * Takes one more connection or refuses it.
   * @param address the client's own; undefined where there is none (a unix socket without a header), which then counts
   * towards the total alone
   */
  admit(address: string | undefined): Slot | AdmissionRefusal {
    if (this.#open >= this.#most) {
      return refusal("maxConnections", this.#most, `this service takes ${this.#most} connections at once`);
    }
    const key = address === undefined ? undefined : addressKey(canonicalAddress(address) ?? address);
    if (key !== undefined) {
      const held = this.#perAddress.get(key) ?? 0;
      if (held >= this.#mostPerAddress) {
        const most = this.#mostPerAddress;
        return refusal(
          "maxConnectionsPerAddress",
          most,
          `this service takes ${most} connections at once from a client`,
        );
      }
      this.#perAddress.set(key, held + 1);
    }
    this.#open++;
    let held = true;
    return {
      ok: true,
      release: () => {
        if (!held) return;
        held = false;
        this.#release(key);
      },
    };
  }

  #release(key: string | undefined): void {
    this.#open--;
    if (key === undefined) return;
    const left = this.#perAddress.get(key)! - 1;
    if (left === 0) this.#perAddress.delete(key);
    else this.#perAddress.set(key, left);
  }
}

function refusal(limit: AdmissionRefusal["limit"], most: number, reason: string): AdmissionRefusal {
  return { ok: false, status: 503, limit, most, retryAfter: RETRY_AFTER, reason: `${reason}, and it has them` };
}

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
