/**
 * The subscriptions of one peer. Most peers have none, so the set is created on first use.
 * @module
 */
import type { Hub, Member } from "./hub.ts";
import { keyPrefix, topicKey } from "./topic_names.ts";
import type { Payload } from "./topics.ts";

/**
 * One peer's subscriptions. Each covers two topics of the same name: one in the peer's namespace, to which peers publish,
 * and one in all namespaces (""), to which the service publishes if it names no namespace.
 */
export class PeerSubscriptions {
  readonly #hub: Hub;
  readonly #member: Member;
  readonly namespace: string;
  readonly #prefix: string;
  #joined: Set<string> | undefined;

  /** @param namespace must not be empty */
  constructor(hub: Hub, member: Member, namespace: string) {
    this.namespace = namespace;
    this.#prefix = keyPrefix(namespace);
    this.#hub = hub;
    this.#member = member;
  }

  get joined(): Set<string> {
    return this.#joined ??= new Set();
  }

  /** Idempotent. */
  join(topic: string): void {
    this.joined.add(topic);
    this.#hub.topics.subscribe(this.#prefix + topic, this.#member);
    this.#hub.topics.subscribe(topicKey("", topic), this.#member);
  }

  /** Idempotent. */
  leave(topic: string): void {
    this.#joined?.delete(topic);
    this.#hub.topics.unsubscribe(this.#prefix + topic, this.#member);
    this.#hub.topics.unsubscribe(topicKey("", topic), this.#member);
  }

  /** Publishes to every other subscriber of the topic in the namespace. */
  publish(topic: string, payload: Payload): void {
    this.#hub.publish(this.#prefix + topic, payload, this.#member);
  }

  leaveAll(): void {
    for (const topic of this.#joined ?? []) this.leave(topic);
    this.#joined = undefined;
  }
}
