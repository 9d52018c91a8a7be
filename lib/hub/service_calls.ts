/**
 * The calls of a service that behave the same on one node and on many.
 * @module
 */
import type { Action, Target } from "./cluster.ts";
import type { Hub } from "./hub.ts";
import { topicKey } from "./topic_names.ts";
import type { NodeInfo } from "./node_registry.ts";
import type { Payload } from "./topics.ts";

/**
 * An answer that may be incomplete, because a node did not answer in time, the broker is unreachable, a name of another
 * node is too long for the broker, or other nodes were not asked: the questions that wait for answers have more than eight
 * million characters.
 */
export interface Complete {
  /** True if the answer covers every node. */
  readonly complete: boolean;
}

/** The answer to a question that every node was asked. */
export interface ClusterAnswer extends Complete {
  /** How many nodes were asked, this one included, and how many have answered whole. */
  readonly nodes: { readonly asked: number; readonly answered: number };
}

/** The subscribers of a topic. */
export interface Presence extends ClusterAnswer {
  /** Each subscribed peer: its id, its user, and the node it is connected to. */
  readonly peers: readonly { readonly id: string; readonly user: string | undefined; readonly node: string }[];
  /** Each user once. */
  readonly users: readonly string[];
}

/** Whether a user is connected. */
export interface Online extends ClusterAnswer {
  /** Whether the user has at least one peer. */
  readonly online: boolean;
  /** How many peers the user has. */
  readonly peers: number;
}

/** The topics that have subscribers, sorted by name. */
export interface TopicList extends ClusterAnswer {
  /** Each topic, and how many peers are subscribed to it. */
  readonly topics: readonly { readonly topic: string; readonly subscribers: number }[];
}

/** The nodes of the service, this one first. */
export interface NodeList extends Complete {
  /** The nodes that are alive. */
  readonly nodes: readonly NodeInfo[];
}

/** Selects the namespace of a topic. */
export interface InNamespace {
  /** Default: all namespaces, that is, peers of every path. */
  readonly namespace?: string;
}

/** How long to wait for other nodes. */
export interface Bound {
  /** Milliseconds. Default 1,000. */
  readonly timeout?: number;
}

/**
 * Calls that act on peers of all nodes. Messages are delivered at most once, to this node's own peers synchronously.
 * Messages that one node publishes to one topic arrive everywhere in that order. Without a broker there is one node.
 */
export interface ServiceCalls {
  /**
   * Sends to every subscriber of a topic, or of each of several topics. A peer that is subscribed to two of them gets the
   * message twice.
   * @param options `except`: the id of a peer that does not get the message
   */
  publish(
    topic: string | readonly string[],
    data: unknown,
    options?: InNamespace & { readonly except?: string },
  ): void;
  /** Sends to all peers of a user, or to one peer. Does nothing if there is no such peer. */
  send(to: Target, data: unknown): void;
  /** Subscribes the current peers of a user, or one peer, to a topic of the peer's namespace. */
  subscribe(to: Target, topic: string): void;
  /** Unsubscribes the current peers of a user, or one peer, from a topic of the peer's namespace. */
  unsubscribe(to: Target, topic: string): void;
  /** Closes the current peers of a user, or one peer. Default code: 1000. */
  disconnect(to: Target, options?: { readonly code?: number; readonly reason?: string }): void;
  /** Lists the subscribers of a topic. */
  presence(topic: string, options?: InNamespace & Bound): Promise<Presence>;
  /** Reports whether a user is connected to any node. */
  online(user: string, options?: Bound): Promise<Online>;
  /** Lists the topics that have subscribers, with their number. */
  topics(prefix?: string, options?: InNamespace & Bound): Promise<TopicList>;
  /**
   * Lists the nodes that are alive. A node knows all others 1.5 s after its start; until then `complete` is false. A node
   * that dies is removed after five seconds.
   */
  nodes(): Promise<NodeList>;
}

const TIMEOUT = 1000;

/** Implements the calls with a hub. */
export class HubCalls implements ServiceCalls {
  readonly #hub: Hub;
  readonly #toPayload: (data: unknown) => Payload;

  /** @param toPayload converts the data that an app sends to text or bytes */
  constructor(hub: Hub, toPayload: (data: unknown) => Payload) {
    this.#hub = hub;
    this.#toPayload = toPayload;
  }

  publish(
    topic: string | readonly string[],
    data: unknown,
    { namespace = "", except }: InNamespace & { readonly except?: string } = {},
  ): void {
    const payload = this.#toPayload(data);
    for (const name of typeof topic === "string" ? [topic] : topic) {
      const key = topicKey(namespace, name);
      if (except === undefined) this.#hub.publish(key, payload);
      else this.#hub.publishExcept(key, payload, except);
    }
  }

  send(to: Target, data: unknown): void {
    this.#hub.send(validateTarget("send", to), this.#toPayload(data));
  }

  subscribe(to: Target, topic: string): void {
    this.#hub.perform({ do: "subscribe", to: validateTarget("subscribe", to), topic });
  }

  unsubscribe(to: Target, topic: string): void {
    this.#hub.perform({ do: "unsubscribe", to: validateTarget("unsubscribe", to), topic });
  }

  disconnect(to: Target, { code, reason }: { readonly code?: number; readonly reason?: string } = {}): void {
    const action: Action = { do: "disconnect", to: validateTarget("disconnect", to), code, reason };
    this.#hub.perform(action);
  }

  async presence(topic: string, { namespace = "", timeout }: InNamespace & Bound = {}): Promise<Presence> {
    const question = { what: "presence", key: topicKey(namespace, topic) } as const;
    const { items, ...asked } = await this.#ask<readonly [id: string, user?: string]>(question, timeout);
    const peers = items.map(([id, user]) => ({ id, user, node: id.slice(-12) }));
    const users = new Set(peers.flatMap(({ user }) => user === undefined ? [] : [user]));
    return { peers, users: [...users], ...asked };
  }

  async online(user: string, { timeout }: Bound = {}): Promise<Online> {
    const { items, ...asked } = await this.#ask<number>({ what: "online", user }, timeout);
    const peers = items.reduce((sum, count) => sum + count, 0);
    return { online: peers > 0, peers, ...asked };
  }

  async topics(prefix = "", { namespace = "", timeout }: InNamespace & Bound = {}): Promise<TopicList> {
    const question = { what: "topics", namespace, prefix } as const;
    const { items, ...asked } = await this.#ask<readonly [topic: string, subscribers: number]>(question, timeout);
    const sums = new Map<string, number>();
    for (const [topic, subscribers] of items) sums.set(topic, (sums.get(topic) ?? 0) + subscribers);
    const topics = Array.from(sums, ([topic, subscribers]) => ({ topic, subscribers }));
    return { topics: topics.sort((a, b) => a.topic < b.topic ? -1 : 1), ...asked };
  }

  nodes(): Promise<NodeList> {
    const { cluster } = this.#hub;
    const nodes = [this.#hub.info(), ...cluster?.nodes ?? []];
    return Promise.resolve({ nodes, complete: cluster?.complete ?? true });
  }

  /** Returns this node's items, then those of the other nodes. */
  async #ask<T>(question: Parameters<Hub["answer"]>[0], timeout = TIMEOUT): Promise<ClusterAnswer & { items: T[] }> {
    const { cluster } = this.#hub;
    const others = await cluster?.ask(question, timeout);
    const items = [...this.#hub.answer(question), ...others?.items ?? []] as T[];
    const { complete = true, asked = 0, answered = 0 } = others ?? {};
    return { items, complete, nodes: { asked: 1 + asked, answered: 1 + answered } };
  }
}

/**
 * Validates a target: an undefined user would otherwise match no peer without an error.
 * @throws {TypeError} if the target is neither `{ user }` nor `{ peer }`
 */
function validateTarget(call: string, to: Target): Target {
  const { user, peer } = to as { user?: unknown; peer?: unknown };
  if ((typeof user === "string") !== (typeof peer === "string")) {
    return typeof user === "string" ? { user } : { peer: peer as string };
  }
  throw new TypeError(
    `Cannot ${call}: { user: string } or { peer: string } is required, got ${JSON.stringify(to)}`,
  );
}
