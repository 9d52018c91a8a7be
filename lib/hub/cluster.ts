/**
 * Communication between nodes: announcements, commands, queries.
 * @module
 */
import type { Logger } from "../log.ts";
import { HEARTBEAT_INTERVAL, type NodeInfo, NodeRegistry } from "./node_registry.ts";
import { type Answer, Queries, type QueryResult } from "./node_queries.ts";
import type { Addressee, Relay } from "./frame_relay.ts";

/** The target of a call: all peers of a user, or one peer. */
export type Target = { readonly user: string } | { readonly peer: string };

/** A question that one node asks all others. */
export type Question =
  | { readonly what: "presence"; readonly key: string }
  | { readonly what: "online"; readonly user: string }
  | { readonly what: "topics"; readonly namespace: string; readonly prefix: string };

/** An action that one node requests from others. */
export type Action =
  | { readonly do: "subscribe" | "unsubscribe"; readonly to: Target; readonly topic: string }
  | { readonly do: "disconnect"; readonly to: Target; readonly code?: number; readonly reason?: string };

type Command =
  | Action
  | { readonly do: "hello" | "beat"; readonly info: NodeInfo }
  | { readonly do: "leave"; readonly node: string }
  | { readonly do: "ask"; readonly node: string; readonly query: number; readonly question: Question }
  | ({ readonly do: "answer" } & Answer);

/** How this node answers the others. */
export interface LocalNode {
  info(): NodeInfo;
  answer(question: Question): unknown[];
  act(action: Action): void;
}

/** After listening for this many milliseconds a node has heard of all others. */
const DISCOVERY_TIME = 1.5 * HEARTBEAT_INTERVAL;
/** The most characters of JSON in one part of an answer. */
const PART_LENGTH = 64 * 1024;
/** More bytes than a frame with a part of an answer has in addition to the items. */
const PART_OVERHEAD = 256;
/** The most characters of all pending questions. A client may choose a name in a question as long as a message. */
const MAX_PENDING_CHARACTERS = 8 * 1024 * 1024;

const encoder = new TextEncoder();

/** This node's view of the other nodes. */
export class Cluster {
  readonly #relay: Relay;
  readonly #local: LocalNode;
  readonly #log: Logger;
  readonly #nodes = new NodeRegistry();
  readonly #queries = new Queries();
  /** Pending queries by question and timeout. The same question is asked only once at a time. */
  readonly #pendingQueries = new Map<string, Promise<QueryResult>>();
  #pendingCharacters = 0;
  readonly #timer: ReturnType<typeof setInterval>;
  /** When this node began to listen. Each live node announces itself within one heartbeat interval. */
  #listeningSince = -Infinity;

  /** @param log must be throttled */
  constructor(relay: Relay, local: LocalNode, log: Logger) {
    this.#relay = relay;
    this.#local = local;
    this.#log = log;
    this.#timer = setInterval(() => this.#heartbeat(), HEARTBEAT_INTERVAL);
  }

  /** The other nodes. */
  get nodes(): NodeInfo[] {
    return this.#nodes.all;
  }

  /** Whether all nodes are known. */
  get complete(): boolean {
    return this.#relay.connected && this.#remainingDiscovery === 0;
  }

  /** Milliseconds until every live node has announced itself to this one. */
  get #remainingDiscovery(): number {
    return Math.max(0, this.#listeningSince + DISCOVERY_TIME - performance.now());
  }

  /** Called when the broker is connected: announces this node and asks the others to announce themselves. */
  join(): void {
    this.#listeningSince = performance.now();
    this.#send("all", { do: "hello", info: this.#local.info() });
  }

  /** Announces that this node leaves. */
  leave(): void {
    clearInterval(this.#timer);
    this.#send("all", { do: "leave", node: this.#local.info().id });
    this.#queries[Symbol.dispose]();
  }

  act(to: Addressee, action: Action): void {
    this.#relay.command(to, action, true);
  }

  /** Asks the other nodes, unless the broker is unreachable or the pending questions are too long. */
  ask(question: Question, timeout: number): Promise<QueryResult> {
    const unanswered = { items: [], complete: false, asked: this.#nodes.all.length, answered: 0 };
    if (!this.#relay.connected) return Promise.resolve(unanswered);
    const key = JSON.stringify([question, timeout]);
    const pending = this.#pendingQueries.get(key);
    if (pending !== undefined) return pending;
    if (this.#pendingCharacters + key.length > MAX_PENDING_CHARACTERS) return Promise.resolve(unanswered);
    const node = this.#local.info().id;
    const answer = this.#queries.ask(this.#nodes.ids, this.#remainingDiscovery, timeout, (query) => {
      this.#send("all", { do: "ask", node, query, question });
    }).finally(() => {
      this.#pendingQueries.delete(key);
      this.#pendingCharacters -= key.length;
    });
    this.#pendingQueries.set(key, answer);
    this.#pendingCharacters += key.length;
    return answer;
  }

  /** Handles a command of another node. An unknown command comes from a newer version and is ignored. */
  receive(received: unknown): void {
    const command = received as Command | null | undefined;
    switch (command?.do) {
      case "hello":
        this.#addNode(command.info);
        return this.#send({ node: command.info.id }, { do: "beat", info: this.#local.info() });
      case "beat":
        return this.#addNode(command.info);
      case "leave":
        this.#nodes.delete(command.node);
        return this.#nodesChanged();
      case "ask":
        return this.#answer(command.node, command.query, command.question);
      case "answer":
        return this.#queries.answer(command);
      case "subscribe":
      case "unsubscribe":
      case "disconnect":
        return this.#local.act(command);
    }
  }

  #addNode(info: NodeInfo): void {
    if (!this.#nodes.has(info.id)) this.#queries.nodeJoined(info.id);
    this.#nodes.record(info, performance.now());
  }

  #heartbeat(): void {
    this.#send("all", { do: "beat", info: this.#local.info() });
    if (this.#nodes.expire(performance.now())) this.#nodesChanged();
  }

  #nodesChanged(): void {
    // The sequence numbers of a silent node are kept: after its return they tell how many of its messages are missing.
    const remembered = new Set(Array.from(this.#nodes.remembered, (id) => parseInt(id, 16)));
    this.#relay.retain((origin) => remembered.has(origin));
    this.#queries.retain((id) => this.#nodes.has(id));
  }

  /** Answers in parts. Omits an item that is too long for a frame: a client may choose a name as long as a message. */
  #answer(to: string, query: number, question: Question): void {
    const node = this.#local.info().id;
    const { maxFrame } = this.#relay;
    const longest = Math.min(PART_LENGTH, maxFrame / 4);
    let items: unknown[] = [];
    let length = 0;
    let part = 0;
    let omitted = 0;
    const send = (last: boolean) => {
      this.#send({ node: to }, { do: "answer", query, node, items, part: part++, last, omitted });
      items = [];
      length = 0;
    };
    for (const item of this.#local.answer(question)) {
      const json = JSON.stringify(item);
      if (json.length > longest && encoder.encode(json).length > maxFrame - PART_OVERHEAD) {
        omitted++;
        continue;
      }
      if (length + json.length > longest && items.length > 0) send(false);
      items.push(item);
      length += json.length;
    }
    send(true);
    if (omitted === 0) return;
    this.#log.warn("an answer to another node lacks names that exceed the broker's limit", {
      question: question.what,
      omitted,
      limit: maxFrame,
    });
  }

  #send(to: Addressee, command: Command): void {
    this.#relay.command(to, command);
  }
}
