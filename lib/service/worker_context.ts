/**
 * The interface between a service and its supervisor, if the service is one of several workers on one port.
 * @module
 */

/** Open connections by address and user. In a change, zero means that none is left. */
export interface ConnectionTotals {
  readonly total: number;
  readonly addresses: Readonly<Record<string, number>>;
  readonly users: Readonly<Record<string, number>>;
}

/** The supervisor, as the service uses it. */
export interface WorkerContext {
  /** The worker's number, from 1. */
  readonly index: number;
  /** The number of workers. */
  readonly count: number;
  /** The unix socket of the relay between the workers; undefined with a single worker or a broker. */
  readonly relay: string | undefined;
  /**
   * Resolves when it is this worker's turn to listen. `port`: default is the port of the settings. `join`: others already
   * share the port.
   */
  turnToListen(): Promise<{ readonly port?: number; readonly join: boolean }>;
  /** Called when the accept loop ended unexpectedly ("lost"), or runs again ("joined"). */
  groupChanged(change: "lost" | "joined"): void;
  /**
   * Reloads the certificate and the tokens in all workers.
   * @throws {StartError} if the new ones are not usable
   */
  reloadAll(): Promise<void>;
  /** Reports this worker's connections: the total, and the changes since the last report. */
  reportCounts(counts: ConnectionTotals): void;
  /** Set by the service. Receives the connections of the other workers: the total and the changes. */
  onCounts: (others: ConnectionTotals) => void;
}
