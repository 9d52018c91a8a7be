/**
 * The topics of one process: subscriptions and fan-out.
 * @module
 */

/** The data that subscribers receive: text or bytes. */
export type Payload = string | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** Receives published messages. */
export interface Subscriber {
  /** Bytes are valid only during the call. */
  deliver(payload: Payload): void;
}

/** Receives an event when a topic gets its first subscriber or loses its last one. */
export interface TopicObserver {
  /** The topic has its first subscriber. */
  add(topic: string): void;
  /** The topic has no subscriber any more. */
  remove(topic: string): void;
}

/**
 * The subscriptions to topics. Delivery is synchronous, at most once, and in publishing order for each subscriber. A topic
 * exists while it has subscribers.
 */
export class Topics<S extends Subscriber = Subscriber> {
  readonly #subscribers = new Map<string, Set<S>>();
  /** Set if the service has other nodes. */
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

  /** The number of subscribers of a topic. */
  size(topic: string): number {
    return this.#subscribers.get(topic)?.size ?? 0;
  }

  /** The subscribers of a topic. */
  subscribers(topic: string): Iterable<S> {
    return this.#subscribers.get(topic) ?? [];
  }

  /** The number of topics that have subscribers. */
  get count(): number {
    return this.#subscribers.size;
  }

  /** The topics that have subscribers. */
  names(): Iterable<string> {
    return this.#subscribers.keys();
  }
}
