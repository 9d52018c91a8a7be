/**
 * The dependencies that all peers of a service share.
 * @module
 */
import type { Hub } from "../hub/hub.ts";
import type { Logger } from "../log.ts";
import type { AccessLog } from "./access_log.ts";
import type { App, Peer } from "./app_types.ts";
import type { MemoryBudget } from "./memory_budget.ts";
import type { IdleTimeouts } from "./idle_timeout.ts";
import type { MessageScheduler } from "./message_scheduler.ts";
import type { Poller } from "./poller.ts";
import type { ServiceCounters } from "./service_counters.ts";
import type { InboundLimitOptions } from "./inbound_limits.ts";
import type { CorkTimer } from "./send_buffer.ts";

/** The dependencies that all peers of a service share. */
export interface PeerDependencies extends InboundLimitOptions {
  readonly app: App;
  /** Throttled, because a failing hook fails for every peer. */
  readonly log: Logger;
  readonly access: AccessLog;
  /** Throttled. For events that clients can cause repeatedly. */
  readonly notices: Logger;
  /** Logs a warning once. For errors of the operator or the app's author. */
  warnOnce(message: string): void;
  readonly hub: Hub;
  /** Whether a user has reached its connection limit. */
  userLimitReached(user: string | undefined): boolean;
  /** The open peers. */
  readonly openPeers: ReadonlySet<Peer>;
  /** Whether the service refuses new peers. After a hand-over it still accepts connections that were accepted before. */
  isRefusing(): boolean;
  readonly poller: Poller;
  readonly scheduler: MessageScheduler;
  readonly budget: MemoryBudget;
  readonly counters: ServiceCounters;
  readonly corkTimer: CorkTimer;
  /** Whether this service terminates TLS. */
  readonly tls: boolean;
  /** The maximum bytes (cost) that may wait to be sent; see `SendBuffer`. */
  readonly maxBackpressure: number;
  /** Milliseconds for which a peer may exceed `maxBackpressure` without reading. */
  readonly slowReaderTimeout: number;
  /** Milliseconds for the app's `upgrade` hook, and again for the connection to open. */
  readonly openTimeout: number;
  readonly idleTimeouts: IdleTimeouts;
  /**
   * Called when the peer is open; adds it to `peers`.
   * @param keyId the secret or key that verified its token
   */
  opened(peer: Peer, keyId: string | undefined): void;
  /**
   * Called once when the peer has ended, whether it was open or not.
   * @param code of the close frame; undefined if the peer was never open
   */
  ended(peer: Peer, code: number | undefined): void;
}
