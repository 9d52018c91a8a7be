/**
 * Topics of one process: who is subscribed, and fan-out to them.
 * @module
 */

/** What a subscriber takes; already text or bytes. */
export type Payload = string | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** Receives what is published. */
export interface Subscriber {
  /** Bytes are valid only during the call. */
  deliver(payload: Payload): void;
}

/** Learns which topics somebody is subscribed to. */
export interface TopicObserver {
  /** The first subscriber came. */
  add(topic: string): void;
  /** The last one left. */
  remove(topic: string): void;
}

/**
 * The subscriptions. Delivery is in the order of publishing for each subscriber, at most once, and synchronous;
 * a topic exists while somebody is subscribed to it.
 */
export class Topics<S extends Subscriber = Subscriber> {
  readonly #subscribers = new Map<string, Set<S>>();
  /** Set where other nodes are to hear of it. */
  observer: TopicObserver | undefined;

  /** Idempotent. */
  subscribe(topic: string, subscriber: S): void {
    const set = this.#subscribers.get(topic);
    if (set) {
      set.add(subscriber);
    } else {
      this.#subscribers.set(topic, new Set([subscriber]));
      this.observer?.add(topic);
    }
  }

  /** Idempotent. */
  unsubscribe(topic: string, subscriber: S): void {
    const set = this.#subscribers.get(topic);
    if (set?.delete(subscriber) && set.size === 0) {
      this.#subscribers.delete(topic);
      this.observer?.remove(topic);
    }
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

  /** Who is subscribed. */
  subscribers(topic: string): Iterable<S> {
    return this.#subscribers.get(topic) ?? [];
  }

  /** How many topics there are. */
  get count(): number {
    return this.#subscribers.size;
  }

  /** The topics that somebody is subscribed to. */
  names(): Iterable<string> {
    return this.#subscribers.keys();
  }
}
