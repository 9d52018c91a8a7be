/**
 * Latencies in buckets 2.2 % wide: bounded memory and no sorting at a million samples a second.
 * @module
 */

/** Buckets per doubling of the latency. */
const STEPS = 32;
const BUCKETS = STEPS * 32;

/** Percentiles in milliseconds. */
export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** Counts latencies of one microsecond or more. */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #total = 0;
  #max = 0;

  /** Adds a latency in ms the given number of times. */
  add(ms: number, times = 1): void {
    const bucket = ms <= 0.001 ? 0 : Math.min(BUCKETS - 1, Math.round(Math.log2(ms * 1000) * STEPS));
    this.#counts[bucket]! += times;
    this.#total += times;
    if (ms > this.#max) this.#max = ms;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#total = 0;
    this.#max = 0;
  }

  /** Returns the percentiles. All are 0 if nothing was added. */
  latency(): Latency {
    const [p50 = 0, p90 = 0, p99 = 0] = [0.5, 0.9, 0.99].map((part) => this.#at(part));
    return { p50, p90, p99, max: this.#max };
  }

  #at(part: number): number {
    if (this.#total === 0) return 0;
    let seen = 0;
    const bucket = this.#counts.findIndex((count) => (seen += count) >= this.#total * part);
    return Math.min(this.#max, 2 ** (bucket / STEPS) / 1000);
  }
}
