/**
 * The supervisor's interface for a service that is one of several workers on one port.
 * @module
 */

/** Open connections by address and user. In a report of changes, zero means that none is left. */
export interface ConnectionTotals {
  readonly total: number;
  readonly addresses: Readonly<Record<string, number>>;
  readonly users: Readonly<Record<string, number>>;
}

/** How a worker listens. */
export interface ListenOrder {
  /** The port to open. Default: the port of the settings. */
  readonly port?: number;
  /** Whether other workers already share the port. */
  readonly join: boolean;
  /** Whether the other workers have reloaded the certificate since this one may have loaded it. */
  readonly reload: boolean;
}

/** The calls of a service to its supervisor. */
export interface WorkerContext {
  /** The worker's number, from 1. */
  readonly index: number;
  /** The number of workers. */
  readonly count: number;
  /** The unix socket of the relay between the workers; undefined with a single worker or a broker. */
  readonly relay: string | undefined;
  /** Resolves when it is this worker's turn to listen. */
  turnToListen(): Promise<ListenOrder>;
  /** Must be called when the accept loop has ended unexpectedly ("lost") or runs again ("joined"). */
  groupChanged(change: "lost" | "joined"): void;
  /**
   * Reloads the certificate in all workers, and the tokens, too, if `tokens` is set.
   * @throws {StartError} if the new ones are not usable
   */
  reloadAll(tokens: boolean): Promise<void>;
  /** Reports this worker's connections: the total, and the changes since the last report. */
  reportCounts(counts: ConnectionTotals): void;
  /** Set by the service. Receives the connections of the other workers: the total and the changes. */
  onCounts: (others: ConnectionTotals) => void;
}
