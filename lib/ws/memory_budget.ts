/**
 * What all peers of a service may hold together: messages that wait to be sent, and messages that wait for their app.
 * @module
 */

/** Memory that one queued message costs besides its bytes, in Deno or here (measured: 195 MiB for 200,000). */
export const MESSAGE_COST = 1024;

/** One peer's share. */
export interface BudgetMember {
  /** Measures what it holds now; bytes. */
  measure(): number;
  /** Gives it up: closes with 1013 or, where that has been done, ends the connection. */
  release(): void;
}

/** Something that was sent to, and may tell whether that has left. */
export interface SendSample {
  readonly buffered: number;
}

/** Shares of the limit: measured above the first, peers are released down to the second. The distance makes it rare. */
const RELEASE_ABOVE = 15 / 16;
const RELEASE_TO = 7 / 8;
/** Every so many sends one is remembered. A power of two. */
const SAMPLE_EVERY = 32;
const SAMPLES = 8;

/**
 * The budget. Each send adds to `used`, which is an upper bound: what has left since is only subtracted when the bound
 * passes the limit and everybody is measured. If it then still does, the fullest peers are released first.
 */
export class MemoryBudget {
  readonly limit: number;
  /** Bytes, an upper bound. */
  used = 0;
  /** All messages that were sent, and their bytes; of text, its characters. */
  messages = 0;
  bytes = 0;
  /** Messages handled and sent since the event loop turned, as far as that was observed. See `MessageScheduler`. */
  work = 0;
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

  /** Counts a send; now and then it remembers to whom. */
  sent(cost: number, to: SendSample): void {
    this.used += cost;
    if ((++this.work & (SAMPLE_EVERY - 1)) === 0) {
      this.#samples[this.#next] = to;
      this.#next = (this.#next + 1) % SAMPLES;
    }
  }

  /** Whether most of the sends that were remembered since the last `forgetSends` have left. */
  get mostSent(): boolean {
    let waiting = 0;
    for (const { buffered } of this.#samples) if (buffered > 0) waiting++;
    return waiting * 2 <= this.#samples.length;
  }

  forgetSends(): void {
    this.#samples = [];
    this.#next = 0;
  }

  /** Measures everybody, and releases the fullest until the budget is kept. Call it when `used` is over `limit`. */
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
