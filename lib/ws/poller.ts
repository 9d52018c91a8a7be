/**
 * Peers that are polled: Deno fires nothing when a buffer empties, when a close is not answered, or
 * when the client of an upgrade had gone before it (measured: the socket then stays in CONNECTING for good).
 * One timer for all of them, which runs only while there are any.
 * @module
 */

/** Something that is polled. */
export interface Polled {
  /** @returns whether it still needs polling */
  poll(now: number): boolean;
}

/** How often, in ms. */
const INTERVAL = 50;

/** The peers that are polled. */
export class Poller {
  readonly #polled = new Set<Polled>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Idempotent. */
  add(peer: Polled): void {
    this.#polled.add(peer);
    this.#timer ??= setInterval(() => this.#tick(), INTERVAL);
  }

  /** Forgets all and stops the timer. */
  stop(): void {
    this.#polled.clear();
    this.#idle();
  }

  #tick(): void {
    const now = performance.now();
    for (const peer of this.#polled) {
      if (!peer.poll(now)) this.#polled.delete(peer);
    }
    if (this.#polled.size === 0) this.#idle();
  }

  #idle(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
