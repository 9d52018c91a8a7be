/**
 * Polls peers, because Deno has no event for an empty buffer, an unanswered close frame, or an upgrade whose client
 * disconnected before it (measured: the socket then stays in CONNECTING). One timer serves all peers, and runs only while
 * there are any.
 * @module
 */

/** An object that is polled. */
export interface Polled {
  /** @returns whether to poll it again */
  poll(now: number): boolean;
}

/** Milliseconds between two polls. */
const INTERVAL = 50;

/** The polled objects. */
export class Poller {
  readonly #polled = new Set<Polled>();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** Idempotent. */
  add(peer: Polled): void {
    this.#polled.add(peer);
    this.#timer ??= setInterval(() => this.#tick(), INTERVAL);
  }

  /** Removes all objects and stops the timer. */
  stop(): void {
    this.#polled.clear();
    this.#stopTimer();
  }

  #tick(): void {
    const now = performance.now();
    for (const peer of this.#polled) {
      if (!peer.poll(now)) this.#polled.delete(peer);
    }
    if (this.#polled.size === 0) this.#stopTimer();
  }

  #stopTimer(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
