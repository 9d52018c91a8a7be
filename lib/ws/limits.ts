/**
 * The counts and rates of one service: how many connections it takes, and how many messages each of them may send.
 * Verdicts only; answering 503 and closing with 1008 is the caller's.
 * @module
 */
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
