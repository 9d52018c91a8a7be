/**
 * How late the event loop is: what stands still in an app's hook is seen here.
 * @module
 */

/** Milliseconds between two looks, and of the time that one entry covers. */
const LOOK_EVERY = 100;
const SLOT = 5000;
const SLOTS = 3;

/** Measures by a timer that comes late, and remembers the longest for 10 to 15 seconds: between two scrapes it shows. */
export class EventLoopLag implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #slots = new Array<number>(SLOTS).fill(0);
  #slot = 0;
  #last = performance.now();

  constructor() {
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY);
    Deno.unrefTimer(this.#timer);
  }

  /** Seconds. */
  get longest(): number {
    return Math.max(...this.#slots) / 1000;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    const slot = Math.floor(now / SLOT);
    // Slots that nobody looked in belong to the past.
    for (let next = Math.max(this.#slot + 1, slot - SLOTS + 1); next <= slot; next++) this.#slots[next % SLOTS] = 0;
    this.#slot = slot;
    const late = Math.max(0, now - this.#last - LOOK_EVERY);
    this.#slots[slot % SLOTS] = Math.max(this.#slots[slot % SLOTS]!, late);
    this.#last = now;
  }
}
