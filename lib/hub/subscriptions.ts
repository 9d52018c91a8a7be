/**
 * The topics of one peer; most have none.
 * @module
 */
import type { Hub, Member } from "./hub.ts";
import { keyPrefix, topicKey } from "./names.ts";
import type { Payload } from "./topics.ts";

/** One peer's subscriptions, in its namespace. */
export class Subscriptions {
  readonly #hub: Hub;
  readonly #member: Member;
  readonly namespace: string;
  readonly #prefix: string;
  #joined: Set<string> | undefined;

  constructor(hub: Hub, member: Member, namespace = "") {
    this.namespace = namespace;
    this.#prefix = namespace === "" ? "" : keyPrefix(namespace);
    this.#hub = hub;
    this.#member = member;
  }

  get joined(): Set<string> {
    return this.#joined ??= new Set();
  }

  /** Idempotent. */
  join(topic: string): void {
    this.joined.add(topic);
    this.#hub.topics.subscribe(this.#key(topic), this.#member);
  }

  /** Idempotent. */
  leave(topic: string): void {
    this.#joined?.delete(topic);
    this.#hub.topics.unsubscribe(this.#key(topic), this.#member);
  }

  /** To every other subscriber of the topic. */
  publish(topic: string, payload: Payload): void {
    this.#hub.publish(this.#key(topic), payload, this.#member);
  }

  leaveAll(): void {
    for (const topic of this.#joined ?? []) this.leave(topic);
    this.#joined = undefined;
  }

  #key(topic: string): string {
    return this.#prefix === "" ? topicKey("", topic) : this.#prefix + topic;
  }
}
