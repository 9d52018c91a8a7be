/**
 * The topics of one subscriber; most have none.
 * @module
 */
import type { Subscriber, Topics } from "./topics.ts";

/** One subscriber's subscriptions. */
export class Membership {
  readonly #topics: Topics;
  readonly #subscriber: Subscriber;
  #joined: Set<string> | undefined;

  constructor(topics: Topics, subscriber: Subscriber) {
    this.#topics = topics;
    this.#subscriber = subscriber;
  }

  get joined(): Set<string> {
    return this.#joined ??= new Set();
  }

  /** Idempotent. */
  join(topic: string): void {
    this.joined.add(topic);
    this.#topics.subscribe(topic, this.#subscriber);
  }

  /** Idempotent. */
  leave(topic: string): void {
    this.#joined?.delete(topic);
    this.#topics.unsubscribe(topic, this.#subscriber);
  }

  leaveAll(): void {
    for (const topic of this.#joined ?? []) this.#topics.unsubscribe(topic, this.#subscriber);
    this.#joined = undefined;
  }
}
