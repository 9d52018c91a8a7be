/**
 * What a peer is made of: what all of a service share, and what each begins with.
 * @module
 */
import type { Hub } from "../hub/hub.ts";
import type { Logger } from "../log.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { App, Peer } from "./app_types.ts";
import type { MemoryBudget } from "./memory_budget.ts";
import type { MessageScheduler } from "./message_scheduler.ts";
import type { Poller } from "./poller.ts";
import type { InboundLimitOptions } from "./inbound_limits.ts";
import type { Slot } from "./limits.ts";
import type { RequestSnapshot } from "./request_snapshot.ts";

/** What all peers of a service share. */
export interface PeerDependencies extends InboundLimitOptions {
  readonly app: App;
  /** Throttled: a failing hook fails for every peer. */
  readonly log: Logger;
  /** For one line a connection: not throttled. */
  readonly access: Logger;
  /** For what strangers can cause again and again: throttled. */
  readonly notices: Logger;
  readonly hub: Hub;
  /** Whether a user has as many peers here as it may. */
  userIsFull(user: string | undefined): boolean;
  /** The open peers. */
  readonly everybody: ReadonlySet<Peer>;
  /** Whether it takes no more peers: after a hand-over it takes those who were accepted before. */
  refusing(): boolean;
  readonly poller: Poller;
  readonly scheduler: MessageScheduler;
  readonly budget: MemoryBudget;
  /** Cost of the messages that may wait to be sent, bytes; see `SendBuffer`. */
  readonly maxBackpressure: number;
  /** How long a peer may be over that without reading anything, ms. */
  readonly slowReaderTimeout: number;
  /** How long an upgrade may take to open, ms. */
  readonly openTimeout: number;
  /** The peer is open, and in `peers`. */
  opened(peer: Peer): void;
  /** The peer is gone, whether it was open or not. Called once. */
  ended(peer: Peer): void;
}

/** What one peer begins with. */
export interface PeerInit {
  readonly socket: WebSocket;
  readonly request: RequestSnapshot;
  readonly remoteAddress: string | undefined;
  readonly protocol: string;
  readonly namespace?: string | undefined;
  readonly user?: string | undefined;
  readonly context: Record<string, unknown>;
  /** Given back when it ends. */
  readonly slot: Slot;
  /** When its token ends, ms of the epoch. */
  readonly expiresAt?: number | undefined;
  /** What its watchdog knows of it; undefined where there is no watchdog. */
  readonly connection: WatchedConnection | undefined;
}
