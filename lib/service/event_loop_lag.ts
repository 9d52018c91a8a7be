/**
 * Measures the lag of the event loop, which grows if a hook of the app blocks.
 * @module
 */

/** Milliseconds between two samples. */
const SAMPLE_INTERVAL = 100;
/** Milliseconds of one slot, and the number of slots. */
const SLOT = 5000;
const SLOTS = 3;

/** Measures how late a timer fires. Keeps the maximum of the last 10 to 15 seconds, so that a scrape does not miss it. */
export class EventLoopLag implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #slots = new Array<number>(SLOTS).fill(0);
  #slot = 0;
  #last = performance.now();

  constructor() {
    this.#timer = setInterval(() => this.#sample(), SAMPLE_INTERVAL);
    Deno.unrefTimer(this.#timer);
  }

  /** The longest lag in seconds. */
  get longest(): number {
    return Math.max(...this.#slots) / 1000;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const now = performance.now();
    const slot = Math.floor(now / SLOT);
    // Slots without a sample contain old values, so they are reset.
    for (let next = Math.max(this.#slot + 1, slot - SLOTS + 1); next <= slot; next++) this.#slots[next % SLOTS] = 0;
    this.#slot = slot;
    const late = Math.max(0, now - this.#last - SAMPLE_INTERVAL);
    this.#slots[slot % SLOTS] = Math.max(this.#slots[slot % SLOTS]!, late);
    this.#last = now;
  }
}
