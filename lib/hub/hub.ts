/**
 * The hub of a service: the topics, users and peers of this node, and the broker that connects it to the other nodes.
 * @module
 */
import { messageOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type Broker, type BrokerListener, type BrokerStart, NODE_BYTES } from "./broker.ts";
import type { Action, Cluster, LocalNode, Question, Target } from "./cluster.ts";
import { nodeOfPeer } from "./node_frame.ts";
import { parseTopicKey } from "./topic_names.ts";
import type { NodeInfo } from "./node_registry.ts";
import type { Inbound, Relay } from "./frame_relay.ts";
import { type Payload, type Subscriber, Topics } from "./topics.ts";

/** The part of a connected peer that the hub uses. */
export interface Member extends Subscriber {
  /** From {@link Hub.peerId}. */
  readonly id: string;
  readonly user: string | undefined;
  readonly namespace: string;
  subscribe(topic: string): void;
  unsubscribe(topic: string): void;
  close(code?: number, reason?: string): void;
}

/** How to connect a hub to other nodes. */
export interface Connection {
  /** The broker's URL without credentials, for the log. */
  readonly shown: string;
  /** Hubs with the same prefix on the same broker are nodes of one service. */
  readonly prefix: string;
  /** @throws {StartError} */
  open(start: BrokerStart): Promise<Broker>;
  /** Called if the broker was unreachable at the start, when it is connected for the first time. */
  connectedLater?(broker: Broker): void;
}

/** Topics with a gap are collected for this many milliseconds, then reported together. */
const GAP_COLLECT_TIME = 100;

/** The hub of one node. */
export class Hub implements Inbound, LocalNode, BrokerListener {
  /** The id of this node. */
  readonly id: string;
  readonly topics = new Topics<Member>();
  /** The peers of each user. */
  readonly users = new Topics<Member>();
  /** Called with the topics on which messages may have been missed. The namespace "" stands for all namespaces. */
  gap: (topics: readonly string[], namespace: string) => void = () => {};
  readonly #log: Logger;
  readonly #node: Uint8Array<ArrayBuffer>;
  readonly #members = new Map<string, Member>();
  readonly #started = Date.now();
  readonly #host = hostname();
  #shown = "";
  #broker: Broker | undefined;
  /** Set until the broker is connected for the first time. */
  #connectedLater: ((broker: Broker) => void) | undefined;
  #relay: Relay | undefined;
  #cluster: Cluster | undefined;
  #down: { readonly since: number; readonly notRelayed: number } | undefined;
  /** The last error that the broker reported. */
  #problem: string | undefined;
  readonly #gaps = new Set<string>();
  #collecting: ReturnType<typeof setTimeout> | undefined;

  /** @param log must be throttled: some events occur once per message */
  constructor(log: Logger) {
    this.#log = log;
    this.#node = crypto.getRandomValues(new Uint8Array(NODE_BYTES));
    this.id = this.#node.toHex();
  }

  /**
   * Connects this hub to a broker.
   * @throws {StartError} if the broker cannot be used
   */
  async connect({ shown, prefix, open, connectedLater = () => {} }: Connection): Promise<void> {
    this.#shown = shown;
    const broker = this.#broker = await open({ node: this.#node, listener: this });
    if (!broker.connected) this.#connectedLater = connectedLater;
    // A service without a broker does not load what only a broker needs.
    const [{ Channels }, { Relay }, { Cluster }] = await Promise.all([
      import("./channel_names.ts"),
      import("./frame_relay.ts"),
      import("./cluster.ts"),
    ]);
    const channels = new Channels(prefix);
    const relay = this.#relay = new Relay({ broker, channels, node: this.#node, inbound: this, log: this.#log });
    this.#cluster = new Cluster(relay, this, this.#log);
    this.topics.observer = relay.topics;
    this.users.observer = relay.users;
    if (!broker.connected) return;
    this.#cluster.join();
    // Missing permissions are reported before flush resolves.
    await broker.flush().catch((error) => this.problem(error.message));
    if (this.#problem === undefined) return;
    await this.stop();
    throw new StartError(
      `Cannot use the broker ${shown}: the permission to publish and subscribe to ${prefix}.* is required, ` +
        `the broker reported: ${this.#problem}`,
    );
  }

  /** Creates a peer's id: a random UUID of version 8 (RFC 9562, section 5.8) that ends with this node's id. */
  peerId(): string {
    const random = crypto.randomUUID();
    return `${random.slice(0, 14)}8${random.slice(15, 24)}${this.id}`;
  }

  /** Whether the broker is connected; undefined where there is none. */
  get connected(): boolean | undefined {
    return this.#broker?.connected;
  }

  /** The other nodes. */
  get cluster(): Cluster | undefined {
    return this.#cluster;
  }

  /** Adds a connected peer. */
  add(member: Member): void {
    this.#members.set(member.id, member);
    if (member.user !== undefined) this.users.subscribe(member.user, member);
  }

  /** Removes a peer. Idempotent. */
  delete(member: Member): void {
    this.#members.delete(member.id);
    if (member.user !== undefined) this.users.unsubscribe(member.user, member);
  }

  /** Publishes to every subscriber of a topic on all nodes, except one peer of this node. */
  publish(key: string, payload: Payload, except?: Member): void {
    this.topics.publish(key, payload, except);
    this.#relay?.publish(key, payload);
  }

  /** Like {@link publish}, but the excepted peer may be on another node. */
  publishExcept(key: string, payload: Payload, except: string): void {
    const member = this.#members.get(except);
    this.topics.publish(key, payload, member);
    this.#relay?.publish(key, payload, member === undefined ? except : undefined);
  }

  /** Sends to the peers of a user, or to one peer, on any node. */
  send(to: Target, payload: Payload): void {
    if ("user" in to) {
      this.users.publish(to.user, payload);
      this.#relay?.toUser(to.user, payload);
      return;
    }
    const node = nodeOfPeer(to.peer);
    if (node === this.id) this.peer(to.peer, payload);
    else if (node !== undefined) this.#relay?.toPeer(node, to.peer, payload);
  }

  /** Performs an action on the peers of a user, or on one peer, on any node. */
  perform(action: Action): void {
    const { to } = action;
    this.act(action);
    if ("user" in to) return this.#cluster?.act(to, action);
    const node = nodeOfPeer(to.peer);
    if (node !== undefined && node !== this.id) this.#cluster?.act({ node }, action);
  }

  async stop(): Promise<void> {
    clearTimeout(this.#collecting);
    this.topics.observer = undefined;
    this.users.observer = undefined;
    this.#cluster?.leave();
    this.#relay?.[Symbol.dispose]();
    this.#relay = undefined;
    await this.#broker?.[Symbol.asyncDispose]();
  }

  // Inbound: messages of other nodes.

  topic(key: string, payload: Payload, except: string | undefined): void {
    this.topics.publish(key, payload, except === undefined ? undefined : this.#members.get(except));
  }

  user(user: string, payload: Payload): void {
    this.users.publish(user, payload);
  }

  peer(id: string, payload: Payload): void {
    this.#members.get(id)?.deliver(payload);
  }

  command(command: unknown): void {
    try {
      this.#cluster?.receive(command);
    } catch (error) {
      // A node of another version may use a different format.
      this.#log.warn("ignored a malformed command of another node", { error: messageOf(error) });
    }
  }

  readonly missed = (key: string): void => {
    this.#gaps.add(key);
    this.#collecting ??= setTimeout(() => {
      this.#collecting = undefined;
      const keys = [...this.#gaps];
      this.#gaps.clear();
      this.#reportGap(keys);
    }, GAP_COLLECT_TIME);
  };

  /** How many topics have subscribers here, and how many subscriptions there are. */
  subscriptionCounts(): { readonly topics: number; readonly subscriptions: number } {
    let topics = 0;
    let subscriptions = 0;
    for (const key of this.topics.names()) {
      // Each subscription is also one in all namespaces.
      if (parseTopicKey(key).namespace !== "") continue;
      topics++;
      subscriptions += this.topics.size(key);
    }
    return { topics, subscriptions };
  }

  // LocalNode: requests of other nodes.

  info(): NodeInfo {
    const { id } = this;
    const counts = this.#relay && { ...this.#relay.counts };
    return { id, host: this.#host, started: this.#started, peers: this.#members.size, counts };
  }

  answer(question: Question): unknown[] {
    switch (question.what) {
      case "presence":
        return Array.from(
          this.topics.subscribers(question.key),
          ({ id, user }) => user === undefined ? [id] : [id, user],
        );
      case "online":
        return [this.users.size(question.user)];
      case "topics": {
        const found: [string, number][] = [];
        for (const key of this.topics.names()) {
          const { namespace, topic } = parseTopicKey(key);
          if (namespace !== question.namespace || !topic.startsWith(question.prefix)) continue;
          found.push([topic, this.topics.size(key)]);
        }
        return found;
      }
    }
  }

  act(action: Action): void {
    const { to } = action;
    const member = "user" in to ? undefined : this.#members.get(to.peer);
    const members = "user" in to ? [...this.users.subscribers(to.user)] : member ? [member] : [];
    for (const member of members) {
      if (action.do === "disconnect") member.close(action.code, action.reason);
      else member[action.do](action.topic);
    }
  }

  // BrokerListener: the state of the broker's connection.

  down(reason: string): void {
    this.#down = { since: performance.now(), notRelayed: this.#relay?.counts.notRelayed ?? 0 };
    this.#log.warn("broker unreachable; messages reach only this node's own peers", {
      broker: this.#shown,
      reason,
    });
  }

  up(): void {
    const { since, notRelayed } = this.#down ?? { since: performance.now(), notRelayed: 0 };
    this.#down = undefined;
    const connectedLater = this.#connectedLater;
    this.#connectedLater = undefined;
    // A warning even for the first connection: it ends the state that "broker unreachable" has reported.
    this.#log.warn(connectedLater ? "connected to the broker" : "broker connection restored", {
      broker: this.#shown,
      seconds: Math.round((performance.now() - since) / 100) / 10,
      notRelayed: (this.#relay?.counts.notRelayed ?? 0) - notRelayed,
    });
    if (this.#broker) connectedLater?.(this.#broker);
    this.#cluster?.join();
    if (this.#relay) this.#reportGap([...this.#relay.topics.keys()]);
  }

  problem(message: string): void {
    this.#problem = message;
    this.#log.error("broker error", { broker: this.#shown, problem: message });
  }

  #reportGap(keys: readonly string[]): void {
    const byNamespace = Map.groupBy(keys.map(parseTopicKey), ({ namespace }) => namespace);
    // A subscriber in a namespace is also subscribed to the topic of all namespaces; one report is enough.
    const reported = new Set(byNamespace.keys().filter((name) => name !== "").flatMap((name) => topicsOf(name)));
    for (const namespace of byNamespace.keys()) {
      const topics = topicsOf(namespace).filter((topic) => namespace !== "" || !reported.has(topic));
      if (topics.length > 0) this.gap(topics, namespace);
    }

    function topicsOf(namespace: string): string[] {
      return byNamespace.get(namespace)!.map(({ topic }) => topic);
    }
  }
}

/** The host's name, or undefined without the permission to read it. */
function hostname(): string | undefined {
  return Deno.permissions.querySync({ name: "sys", kind: "hostname" }).state === "granted"
    ? Deno.hostname()
    : undefined;
}
