/**
 * What a peer is made of: what all of a service share, and what each begins with.
 * @module
 */
import type { Topics } from "../hub/topics.ts";
import type { Logger } from "../log.ts";
import type { Connection } from "../net/watchdog/watched_connection.ts";
import type { App, Peer } from "./app_types.ts";
import type { Attention } from "./poller.ts";
import type { IntakeRules } from "./inbound_limits.ts";
import type { Lease } from "./limits.ts";
import type { RequestSnapshot } from "./request_snapshot.ts";

/** What all peers of a service share. */
export interface PeerRules extends IntakeRules {
  readonly app: App;
  readonly log: Logger;
  /** For what strangers can cause again and again: throttled. */
  readonly notices: Logger;
  readonly topics: Topics;
  /** The open peers. */
  readonly everybody: ReadonlySet<Peer>;
  /** Whether it takes no more peers: after a hand-over it takes those who were accepted before. */
  refusing(): boolean;
  readonly attention: Attention;
  /** Bytes that may wait to be sent. */
  readonly maxBackpressure: number;
  /** How long an upgrade may take to open, ms. */
  readonly openTimeout: number;
  /** The peer is open, and in `peers`. */
  opened(peer: Peer): void;
  /** The peer is gone, whether it was open or not. Called once. */
  ended(peer: Peer): void;
}

/** What one peer begins with. */
export interface PeerStart {
  readonly socket: WebSocket;
  readonly request: RequestSnapshot;
  readonly remoteAddress: string | undefined;
  readonly protocol: string;
  readonly namespace?: string | undefined;
  readonly context: Record<string, unknown>;
  /** Given back when it ends. */
  readonly lease: Lease;
  /** When its token ends, ms of the epoch. */
  readonly expiresAt?: number | undefined;
  /** What its guard knows of it; undefined where there is no guard. */
  readonly connection: Connection | undefined;
}
