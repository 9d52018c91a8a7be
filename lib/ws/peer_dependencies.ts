/**
 * What all peers of a service share.
 * @module
 */
import type { Hub } from "../hub/hub.ts";
import type { Logger } from "../log.ts";
import type { AccessLog } from "./access_log.ts";
import type { App, Peer } from "./app_types.ts";
import type { MemoryBudget } from "./memory_budget.ts";
import type { MessageScheduler } from "./message_scheduler.ts";
import type { Poller } from "./poller.ts";
import type { InboundLimitOptions } from "./inbound_limits.ts";
import type { CorkTimer } from "./send_buffer.ts";

/** What all peers of a service share. */
export interface PeerDependencies extends InboundLimitOptions {
  readonly app: App;
  /** Throttled: a failing hook fails for every peer. */
  readonly log: Logger;
  readonly access: AccessLog;
  /** For what strangers can cause again and again: throttled. */
  readonly notices: Logger;
  /** Warns the operator or the app's author of something that does not change by itself: once. */
  warnOnce(message: string): void;
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
  readonly corkTimer: CorkTimer;
  /** Cost of the messages that may wait to be sent, bytes; see `SendBuffer`. */
  readonly maxBackpressure: number;
  /** How long a peer may be over that without reading anything, ms. */
  readonly slowReaderTimeout: number;
  /** How long the app and then an upgrade may take until the connection is open, ms. */
  readonly openTimeout: number;
  /** After which silence Deno ends a connection, ms; 0 is never. */
  readonly idleTimeout: number;
  /**
   * The peer is open, and in `peers`.
   * @param keyId the secret or key that its token was checked with
   */
  opened(peer: Peer, keyId: string | undefined): void;
  /** The peer is gone, whether it was open or not. Called once. */
  ended(peer: Peer): void;
}
