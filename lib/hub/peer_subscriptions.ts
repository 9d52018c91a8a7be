/**
 * The subscriptions of one peer. Most peers have none, so the set is created on first use.
 * @module
 */
import type { Hub, Member } from "./hub.ts";
import { keyPrefix, topicKey } from "./topic_names.ts";
import type { Payload } from "./topics.ts";

/**
 * The memory of a subscription in addition to its topic, bytes. Between the measured values: 70 if the topic has other
 * subscribers, otherwise 700, or 1,400 with a broker.
 */
const SUBSCRIPTION_COST = 128;
/** The memory of subscriptions that is not counted, bytes per peer: about 350 subscriptions. */
const UNCOUNTED = 64 * 1024;

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
  #memory = 0;

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

  /** The memory of the subscriptions that counts for the memory budget, bytes. */
  get cost(): number {
    return Math.max(0, this.#memory - UNCOUNTED);
  }

  /** Idempotent. Returns how much `cost` has grown. */
  join(topic: string): number {
    const before = this.cost;
    if (!this.joined.has(topic)) this.#memory += memoryOf(topic);
    this.joined.add(topic);
    this.#hub.topics.subscribe(this.#prefix + topic, this.#member);
    this.#hub.topics.subscribe(topicKey("", topic), this.#member);
    return this.cost - before;
  }

  /** Idempotent. */
  leave(topic: string): void {
    if (this.#joined?.delete(topic)) this.#memory -= memoryOf(topic);
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

/** The memory of a subscription: its topic is part of two keys. */
function memoryOf(topic: string): number {
  return SUBSCRIPTION_COST + 2 * topic.length;
}
