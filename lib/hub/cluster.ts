/**
 * The nodes together: announcements, commands, queries.
 * @module
 */
import { BEAT, type NodeInfo, Nodes } from "./nodes.ts";
import { type Answer, type Gathered, Queries } from "./node_queries.ts";
import type { Addressee, Relay } from "./frame_relay.ts";

/** Whom a call is about: all peers of a user, or one peer. */
export type Target = { readonly user: string } | { readonly peer: string };

/** What one node can ask all others. */
export type Question =
  | { readonly what: "presence"; readonly key: string }
  | { readonly what: "online"; readonly user: string }
  | { readonly what: "topics"; readonly namespace: string; readonly prefix: string };

/** What one node has others do. */
export type Action =
  | { readonly do: "subscribe" | "unsubscribe"; readonly to: Target; readonly topic: string }
  | { readonly do: "disconnect"; readonly to: Target; readonly code?: number; readonly reason?: string };

type Command =
  | Action
  | { readonly do: "hello" | "beat"; readonly info: NodeInfo }
  | { readonly do: "leave"; readonly node: string }
  | { readonly do: "ask"; readonly node: string; readonly query: number; readonly question: Question }
  | ({ readonly do: "answer" } & Answer);

/** This node, as the others need it. */
export interface LocalNode {
  info(): NodeInfo;
  answer(question: Question): unknown[];
  act(action: Action): void;
}

/** Milliseconds of listening after which all nodes are known. */
const SETTLED = 1.5 * BEAT;
/** Characters of JSON in one part of an answer. */
const PART = 64 * 1024;

/** See the module. */
export class Cluster {
  readonly #relay: Relay;
  readonly #local: LocalNode;
  readonly #nodes = new Nodes();
  readonly #queries = new Queries();
  /** Queries that are under way: who asks the same gets the same answer. */
  readonly #asking = new Map<string, Promise<Gathered>>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** When it began to listen; every node is heard of within a beat. */
  #since = -Infinity;

  constructor(relay: Relay, local: LocalNode) {
    this.#relay = relay;
    this.#local = local;
    this.#timer = setInterval(() => this.#beat(), BEAT);
  }

  /** The other nodes. */
  get nodes(): NodeInfo[] {
    return this.#nodes.all;
  }

  /** Whether all nodes are known. */
  get complete(): boolean {
    return this.#relay.connected && this.#settled === 0;
  }

  /** Milliseconds until each node has announced itself since this one listens. */
  get #settled(): number {
    return Math.max(0, this.#since + SETTLED - performance.now());
  }

  /** The broker is there: this node announces itself, and asks who else is there. */
  join(): void {
    this.#since = performance.now();
    this.#send("all", { do: "hello", info: this.#local.info() });
  }

  /** This node leaves. */
  leave(): void {
    clearInterval(this.#timer);
    this.#send("all", { do: "leave", node: this.#local.info().id });
    this.#queries[Symbol.dispose]();
  }

  act(to: Addressee, action: Action): void {
    this.#relay.command(to, action, true);
  }

  /** Asks the other nodes. */
  ask(question: Question, timeout: number): Promise<Gathered> {
    if (!this.#relay.connected) return Promise.resolve({ items: [], complete: false });
    const same = JSON.stringify([question, timeout]);
    const asking = this.#asking.get(same);
    if (asking !== undefined) return asking;
    const node = this.#local.info().id;
    const answer = this.#queries.ask(this.#nodes.ids, this.#settled, timeout, (query) => {
      this.#send("all", { do: "ask", node, query, question });
    }).finally(() => this.#asking.delete(same));
    this.#asking.set(same, answer);
    return answer;
  }

  /** A command comes from another node. One that cannot be read is of a newer version, and is ignored. */
  receive(received: unknown): void {
    const command = received as Command | null | undefined;
    switch (command?.do) {
      case "hello":
        this.#note(command.info);
        return this.#send({ node: command.info.id }, { do: "beat", info: this.#local.info() });
      case "beat":
        return this.#note(command.info);
      case "leave":
        this.#nodes.delete(command.node);
        return this.#gone();
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

  #note(info: NodeInfo): void {
    if (!this.#nodes.has(info.id)) this.#queries.came(info.id);
    this.#nodes.note(info, performance.now());
  }

  #beat(): void {
    this.#send("all", { do: "beat", info: this.#local.info() });
    if (this.#nodes.expire(performance.now())) this.#gone();
  }

  #gone(): void {
    const live = new Set([...this.#nodes.ids].map((id) => parseInt(id, 16)));
    this.#relay.keep((origin) => live.has(origin));
    this.#queries.keep((id) => this.#nodes.has(id));
  }

  #answer(to: string, query: number, question: Question): void {
    const node = this.#local.info().id;
    const send = (items: unknown[], part: number, last: boolean) =>
      this.#send({ node: to }, { do: "answer", query, node, items, part, last });
    const longest = Math.min(PART, this.#relay.maxFrame / 4);
    let items: unknown[] = [];
    let length = 0;
    let part = 0;
    for (const item of this.#local.answer(question)) {
      const size = JSON.stringify(item).length;
      if (length + size > longest && items.length > 0) {
        send(items, part++, false);
        items = [];
        length = 0;
      }
      items.push(item);
      length += size;
    }
    send(items, part, true);
  }

  #send(to: Addressee, command: Command): void {
    this.#relay.command(to, command);
  }
}
