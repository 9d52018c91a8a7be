/**
 * Queries: ask all nodes and collect their answers until a timeout.
 * @module
 */

/** The answers of the other nodes. */
export interface QueryResult {
  /** In order of arrival. */
  readonly items: readonly unknown[];
  /** Whether every node has answered whole. */
  readonly complete: boolean;
  /** How many other nodes were asked, and how many of them have answered whole. */
  readonly asked: number;
  readonly answered: number;
}

/** One part of a node's answer. Long answers are split. */
export interface Answer {
  readonly query: number;
  readonly node: string;
  readonly items: readonly unknown[];
  /** Parts are numbered from 0; `last` marks the final one. */
  readonly part: number;
  readonly last: boolean;
  /** How many items up to this part were too long to be sent. Absent in answers of older versions. */
  readonly omitted?: number;
}

interface PendingQuery {
  /** Nodes whose answer is not complete, with the number of the next expected part. */
  readonly waiting: Map<string, number>;
  /** Nodes from which the last part has arrived. */
  readonly answered: Set<string>;
  /** How many of them have omitted items. */
  partial: number;
  readonly items: unknown[];
  /** Whether there may be nodes that are not known yet. */
  expectsUnknownNodes: boolean;
  end(): void;
}

/** The queries of this node that wait for answers. */
export class Queries {
  readonly #open = new Map<number, PendingQuery>();
  #next = 0;

  /**
   * Sends a query and waits for the answers.
   * @param nodes the nodes that are expected to answer
   * @param discovery milliseconds until all nodes are known; until then unknown nodes may answer, too; 0: all are known
   * @param timeout milliseconds to wait
   */
  async ask(
    nodes: Iterable<string>,
    discovery: number,
    timeout: number,
    send: (query: number) => void,
  ): Promise<QueryResult> {
    const query = this.#next++;
    const { promise, resolve } = Promise.withResolvers<void>();
    const open: PendingQuery = {
      waiting: new Map([...nodes].map((node) => [node, 0])),
      answered: new Set(),
      partial: 0,
      items: [],
      expectsUnknownNodes: discovery > 0,
      end: resolve,
    };
    if (open.waiting.size === 0 && !open.expectsUnknownNodes) {
      return { items: [], complete: true, asked: 0, answered: 0 };
    }
    this.#open.set(query, open);
    const timer = setTimeout(resolve, timeout);
    const settling = setTimeout(() => {
      open.expectsUnknownNodes = false;
      endIfComplete(open);
    }, discovery);
    send(query);
    await promise;
    clearTimeout(timer);
    clearTimeout(settling);
    this.#open.delete(query);
    const complete = open.waiting.size === 0 && !open.expectsUnknownNodes && open.partial === 0;
    const asked = open.answered.size + open.waiting.size;
    return { items: open.items, complete, asked, answered: open.answered.size - open.partial };
  }

  /** Handles an answer. An answer to a finished query is ignored. */
  answer({ query, node, items, part, last, omitted = 0 }: Answer): void {
    const open = this.#open.get(query);
    if (open === undefined || open.answered.has(node) || (open.waiting.get(node) ?? 0) !== part) return;
    for (const item of items) open.items.push(item);
    if (last) {
      if (omitted > 0) open.partial++;
      open.answered.add(node);
      open.waiting.delete(node);
      endIfComplete(open);
    } else {
      open.waiting.set(node, part + 1);
    }
  }

  /** Stops waiting for nodes that no longer exist. */
  retain(live: (node: string) => boolean): void {
    for (const open of this.#open.values()) {
      for (const node of open.waiting.keys()) {
        if (!live(node)) open.waiting.delete(node);
      }
      endIfComplete(open);
    }
  }

  /** Starts waiting for a node that has just become known. */
  nodeJoined(node: string): void {
    for (const open of this.#open.values()) {
      if (open.expectsUnknownNodes && !open.answered.has(node) && !open.waiting.has(node)) open.waiting.set(node, 0);
    }
  }

  /** Ends all queries with the answers that they have. */
  [Symbol.dispose](): void {
    for (const open of this.#open.values()) open.end();
  }
}

function endIfComplete({ waiting, expectsUnknownNodes, end }: PendingQuery): void {
  if (waiting.size === 0 && !expectsUnknownNodes) end();
}
