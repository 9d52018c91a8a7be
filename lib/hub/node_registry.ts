/**
 * The nodes of a service. Each announces itself every second, and is removed after five seconds of silence. Its id is
 * remembered for an hour: a node that loses its connection to the broker returns with the same id.
 * @module
 */
import type { RelayCounts } from "./frame_relay.ts";

/** Milliseconds between two announcements. */
export const HEARTBEAT_INTERVAL = 1000;
/** Milliseconds of silence after which a node is removed. */
const NODE_TIMEOUT = 5000;
/** Milliseconds for which a removed node is remembered. */
const MEMORY_TIME = 3_600_000;
/** The most removed nodes that are remembered. A node that is killed again and again has a new id each time. */
const MAX_REMEMBERED = 1000;

/** A node of the service. */
export interface NodeInfo {
  /** Twelve hexadecimal digits, new at each start. The ids of the node's peers end with them. */
  readonly id: string;
  /** The name of its host; undefined without the permission to read it. */
  readonly host?: string | undefined;
  /** When the node started, in milliseconds since the Unix epoch. */
  readonly started: number;
  /** How many peers are connected to the node. */
  readonly peers: number;
  /** Counts of relayed messages; undefined without a broker. */
  readonly counts?: RelayCounts | undefined;
}

/** The other nodes that have announced themselves. */
export class NodeRegistry {
  readonly #nodes = new Map<string, { readonly info: NodeInfo; seen: number }>();
  /** When each silent node was removed, the earliest first. */
  readonly #silent = new Map<string, number>();
  #lastExpiry: number | undefined;

  get all(): NodeInfo[] {
    return [...this.#nodes.values()].map(({ info }) => info);
  }

  has(id: string): boolean {
    return this.#nodes.has(id);
  }

  get ids(): Iterable<string> {
    return this.#nodes.keys();
  }

  /** The ids of the nodes, and of the silent ones that may return. */
  get remembered(): Iterable<string> {
    return [...this.#nodes.keys(), ...this.#silent.keys()];
  }

  /** Records an announcement of a node. */
  record(info: NodeInfo, now: number): void {
    this.#silent.delete(info.id);
    this.#nodes.set(info.id, { info, seen: now });
  }

  /** Removes a node that announced its departure. It is not remembered: it returns with another id. */
  delete(id: string): void {
    this.#nodes.delete(id);
    this.#silent.delete(id);
  }

  /**
   * Removes nodes that have been silent for too long. Must be called every {@link HEARTBEAT_INTERVAL}.
   * @returns whether a node was removed or forgotten
   */
  expire(now: number): boolean {
    // While this process was paused it received nothing, so that time does not count as silence of a node.
    const paused = this.#lastExpiry === undefined ? 0 : Math.max(0, now - this.#lastExpiry - 2 * HEARTBEAT_INTERVAL);
    this.#lastExpiry = now;
    let changed = false;
    for (const [id, node] of this.#nodes) {
      node.seen += paused;
      if (now - node.seen <= NODE_TIMEOUT) continue;
      this.#nodes.delete(id);
      this.#silent.set(id, now);
      changed = true;
    }
    for (const [id, since] of this.#silent) {
      if (now - since <= MEMORY_TIME && this.#silent.size <= MAX_REMEMBERED) break;
      this.#silent.delete(id);
      changed = true;
    }
    return changed;
  }
}
