/**
 * Asking all nodes, and gathering their answers within a bound.
 * @module
 */

/** What other nodes said, and whether all of them did. */
export interface Gathered {
  /** In the order in which they came: what nodes answer has no order between them. */
  readonly items: readonly unknown[];
  readonly complete: boolean;
}

/** One part of a node's answer: long answers come in several. */
export interface Answer {
  readonly query: number;
  readonly node: string;
  readonly items: readonly unknown[];
  /** Parts are numbered from 0; the last one says so. */
  readonly part: number;
  readonly last: boolean;
}

interface Open {
  /** Nodes that have not answered, or not whole, by the number of the part that comes next. */
  readonly waiting: Map<string, number>;
  readonly answered: Set<string>;
  readonly items: unknown[];
  /** Whether nodes may exist that are not known yet. */
  newcomers: boolean;
  end(): void;
}

/** The queries of this node that wait for answers. */
export class Queries {
  readonly #open = new Map<number, Open>();
  #next = 0;

  /**
   * Asks.
   * @param nodes who is expected to answer
   * @param settled milliseconds until all nodes are known: until then others may answer too; 0 is now
   * @param timeout milliseconds
   */
  async ask(
    nodes: Iterable<string>,
    settled: number,
    timeout: number,
    send: (query: number) => void,
  ): Promise<Gathered> {
    const query = this.#next++;
    const { promise, resolve } = Promise.withResolvers<void>();
    const open: Open = {
      waiting: new Map([...nodes].map((node) => [node, 0])),
      answered: new Set(),
      items: [],
      newcomers: settled > 0,
      end: resolve,
    };
    if (open.waiting.size === 0 && !open.newcomers) return { items: [], complete: true };
    this.#open.set(query, open);
    const timer = setTimeout(resolve, timeout);
    const settling = setTimeout(() => {
      open.newcomers = false;
      endIfWhole(open);
    }, settled);
    send(query);
    await promise;
    clearTimeout(timer);
    clearTimeout(settling);
    this.#open.delete(query);
    return { items: open.items, complete: open.waiting.size === 0 && !open.newcomers };
  }

  /** An answer comes. Those of queries that are over are dropped. */
  answer({ query, node, items, part, last }: Answer): void {
    const open = this.#open.get(query);
    if (open === undefined || open.answered.has(node) || (open.waiting.get(node) ?? 0) !== part) return;
    for (const item of items) open.items.push(item);
    if (last) {
      open.answered.add(node);
      open.waiting.delete(node);
      endIfWhole(open);
    } else {
      open.waiting.set(node, part + 1);
    }
  }

  /** Nodes that are gone are not waited for. */
  keep(live: (node: string) => boolean): void {
    for (const open of this.#open.values()) {
      for (const node of open.waiting.keys()) {
        if (!live(node)) open.waiting.delete(node);
      }
      endIfWhole(open);
    }
  }

  /** A node that comes is waited for. */
  came(node: string): void {
    for (const open of this.#open.values()) {
      if (open.newcomers && !open.answered.has(node) && !open.waiting.has(node)) open.waiting.set(node, 0);
    }
  }

  /** Ends all waiting: nobody will answer any more. */
  [Symbol.dispose](): void {
    for (const open of this.#open.values()) open.end();
  }
}

function endIfWhole({ waiting, newcomers, end }: Open): void {
  if (waiting.size === 0 && !newcomers) end();
}
