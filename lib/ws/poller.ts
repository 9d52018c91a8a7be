/**
 * Peers that need a look from time to time: Deno fires nothing when a buffer empties, when a close is not answered, or
 * when the client of an upgrade had gone before it (measured: the socket then stays in CONNECTING for good).
 * One timer for all of them, which runs only while there are any.
 * @module
 */

/** Something to look at. */
export interface Attended {
  /** @returns whether it still needs attention */
  look(now: number): boolean;
}

/** How often, in ms. */
const INTERVAL = 50;

/** The peers under attention. */
export class Attention {
  readonly #attended = new Set<Attended>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Idempotent. */
  add(peer: Attended): void {
    this.#attended.add(peer);
    this.#timer ??= setInterval(() => this.#tick(), INTERVAL);
  }

  /** Forgets all and stops the timer. */
  stop(): void {
    this.#attended.clear();
    this.#idle();
  }

  #tick(): void {
    const now = performance.now();
    for (const peer of this.#attended) {
      if (!peer.look(now)) this.#attended.delete(peer);
    }
    if (this.#attended.size === 0) this.#idle();
  }

  #idle(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
