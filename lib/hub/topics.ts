/**
 * Topics of one process: who is subscribed, and fan-out to them.
 * @module
 */

/** What a subscriber takes; already text or bytes. */
export type Payload = string | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** Receives what is published. */
export interface Subscriber {
  deliver(payload: Payload): void;
}

/**
 * The subscriptions. Delivery is in the order of publishing for each subscriber, at most once, and synchronous;
 * a topic exists while somebody is subscribed to it.
 */
export class Topics {
  readonly #subscribers = new Map<string, Set<Subscriber>>();

  /** Idempotent. */
  subscribe(topic: string, subscriber: Subscriber): void {
    const set = this.#subscribers.get(topic);
    if (set) set.add(subscriber);
    else this.#subscribers.set(topic, new Set([subscriber]));
  }

  /** Idempotent. */
  unsubscribe(topic: string, subscriber: Subscriber): void {
    const set = this.#subscribers.get(topic);
    if (set?.delete(subscriber) && set.size === 0) this.#subscribers.delete(topic);
  }

  /** Delivers to every subscriber but `except`. */
  publish(topic: string, payload: Payload, except?: Subscriber): void {
    const set = this.#subscribers.get(topic);
    if (set === undefined) return;
    for (const subscriber of set) {
      if (subscriber !== except) subscriber.deliver(payload);
    }
  }

  /** How many are subscribed. */
  size(topic: string): number {
    return this.#subscribers.get(topic)?.size ?? 0;
  }
}
