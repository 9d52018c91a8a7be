/**
 * The memory budget of all peers of a service: messages that wait to be sent, messages that wait for the app, and
 * subscriptions.
 * @module
 */

/** The memory of one queued message in addition to its bytes, in Deno or here (measured: 195 MiB for 200,000). */
export const MESSAGE_COST = 1024;

/** One peer in the budget. */
export interface BudgetMember {
  /** Measures the memory that it holds now, bytes. */
  measure(): number;
  /**
   * Releases the memory: closes with 1013 or, if it is already closing, aborts the connection. Must not call the app: this
   * may happen during a publish, and a message that the app publishes would reach some subscribers before the first one.
   */
  release(): void;
}

/** A recipient of which a send was remembered. `buffered` is 0 once the data has left. */
export interface SendSample {
  readonly buffered: number;
}

/** Fractions of the limit. Above the first, peers are released until the second is reached; the distance makes this rare. */
const RELEASE_ABOVE = 15 / 16;
const RELEASE_TO = 7 / 8;
/** One of this many sends is remembered. A power of two. */
const SAMPLE_EVERY = 32;
const SAMPLES = 8;

/**
 * The budget. Each send, and each message that waits for the app, adds to `used`, which is an upper bound: data that has
 * left is subtracted only when the bound exceeds the limit and all peers are measured. If the measured sum still exceeds
 * it, the fullest peers are released first.
 */
export class MemoryBudget {
  readonly limit: number;
  /** An upper bound of the memory in use, bytes. */
  used = 0;
  /** The number of messages sent so far, and their bytes (for text, characters). */
  messages = 0;
  bytes = 0;
  /** The messages handled and sent since the scheduler last observed a turn of the event loop. See `MessageScheduler`. */
  operations = 0;
  readonly #members = new Set<BudgetMember>();
  #samples: SendSample[] = [];
  #next = 0;

  /** @param limit bytes */
  constructor(limit: number) {
    this.limit = limit;
  }

  add(member: BudgetMember): void {
    this.#members.add(member);
  }

  /** Idempotent. */
  delete(member: BudgetMember): void {
    this.#members.delete(member);
  }

  /** Counts a send. Remembers the recipient of one in `SAMPLE_EVERY`. */
  sent(cost: number, to: SendSample): void {
    this.used += cost;
    if ((++this.operations & (SAMPLE_EVERY - 1)) === 0) {
      this.#samples[this.#next] = to;
      this.#next = (this.#next + 1) % SAMPLES;
    }
  }

  /** Counts other memory that a peer's cost has grown by, bytes. May release peers. */
  grew(bytes: number): void {
    this.used += bytes;
    if (this.used > this.limit) this.enforce();
  }

  /** Whether most of the sends remembered since the last `resetSamples` have left. */
  get mostSent(): boolean {
    let waiting = 0;
    for (const { buffered } of this.#samples) if (buffered > 0) waiting++;
    return waiting * 2 <= this.#samples.length;
  }

  resetSamples(): void {
    this.#samples = [];
    this.#next = 0;
  }

  /** Measures all peers, and releases the fullest until the sum is within the budget. To be called if `used` > `limit`. */
  enforce(): void {
    const holders: { member: BudgetMember; bytes: number }[] = [];
    this.used = 0;
    for (const member of this.#members) {
      const bytes = member.measure();
      if (bytes === 0) continue;
      this.used += bytes;
      holders.push({ member, bytes });
    }
    if (this.used <= this.limit * RELEASE_ABOVE) return;
    holders.sort((one, other) => other.bytes - one.bytes);
    for (const { member, bytes } of holders) {
      if (this.used <= this.limit * RELEASE_TO) break;
      member.release();
      this.used -= bytes;
    }
  }
}
