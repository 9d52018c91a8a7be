/**
 * The nodes of a service: each announces itself every second, and is gone after five seconds of silence.
 * @module
 */
import type { RelayCounts } from "./frame_relay.ts";

/** Milliseconds between two announcements. */
export const BEAT = 1000;
/** Milliseconds of silence after which a node is gone. */
const GONE = 5000;

/** A node of the service. */
export interface NodeInfo {
  /** Twelve hexadecimal digits, another with each start. The ids of its peers end in them. */
  readonly id: string;
  /** Its host's name; undefined without the permission to ask for it. */
  readonly host?: string | undefined;
  /** When it started, ms of the epoch. */
  readonly started: number;
  /** How many peers are connected to it. */
  readonly peers: number;
  /** What it relayed; undefined without a broker. */
  readonly counts?: RelayCounts | undefined;
}

/** The other nodes, as they announce themselves. */
export class Nodes {
  readonly #nodes = new Map<string, { readonly info: NodeInfo; seen: number }>();
  #looked: number | undefined;

  get all(): NodeInfo[] {
    return [...this.#nodes.values()].map(({ info }) => info);
  }

  has(id: string): boolean {
    return this.#nodes.has(id);
  }

  get ids(): Iterable<string> {
    return this.#nodes.keys();
  }

  /** A node announces itself. */
  note(info: NodeInfo, now: number): void {
    this.#nodes.set(info.id, { info, seen: now });
  }

  /** A node says that it leaves. */
  delete(id: string): void {
    this.#nodes.delete(id);
  }

  /** Forgets who has been silent for too long. To be called each {@link BEAT}. */
  expire(now: number): boolean {
    // While this process stood still it heard nobody: that is nobody's silence.
    const stood = this.#looked === undefined ? 0 : Math.max(0, now - this.#looked - 2 * BEAT);
    this.#looked = now;
    let gone = false;
    for (const [id, node] of this.#nodes) {
      node.seen += stood;
      if (now - node.seen <= GONE) continue;
      this.#nodes.delete(id);
      gone = true;
    }
    return gone;
  }
}
