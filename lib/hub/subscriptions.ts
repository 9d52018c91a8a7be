/**
 * The topics of one subscriber; most have none.
 * @module
 */
import type { Payload, Subscriber, Topics } from "./topics.ts";

/** A topic as its namespace has it: the same name in two namespaces is two topics. */
export function topicIn(namespace: string, topic: string): string {
  if (namespace === "") return topic.includes("\u0000") ? `\u0000${topic}` : topic;
  return `${namespace}\u0000${topic}`;
}

/** One subscriber's subscriptions. */
export class Subscriptions {
  readonly #topics: Topics;
  readonly #subscriber: Subscriber;
  readonly namespace: string;
  #joined: Set<string> | undefined;

  constructor(topics: Topics, subscriber: Subscriber, namespace = "") {
    this.namespace = namespace;
    this.#topics = topics;
    this.#subscriber = subscriber;
  }

  get joined(): Set<string> {
    return this.#joined ??= new Set();
  }

  /** Idempotent. */
  join(topic: string): void {
    this.joined.add(topic);
    this.#topics.subscribe(topicIn(this.namespace, topic), this.#subscriber);
  }

  /** Idempotent. */
  leave(topic: string): void {
    this.#joined?.delete(topic);
    this.#topics.unsubscribe(topicIn(this.namespace, topic), this.#subscriber);
  }

  /** To every other subscriber of the topic. */
  publish(topic: string, payload: Payload): void {
    this.#topics.publish(topicIn(this.namespace, topic), payload, this.#subscriber);
  }

  leaveAll(): void {
    for (const topic of this.#joined ?? []) this.leave(topic);
    this.#joined = undefined;
  }
}
