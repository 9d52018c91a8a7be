/**
 * What a service asks of whoever runs it as one of several workers on one port.
 * @module
 */

/** Open connections by what limits count. In a change, zero means that there are none left. */
export interface ConnectionTotals {
  readonly total: number;
  readonly addresses: Readonly<Record<string, number>>;
  readonly users: Readonly<Record<string, number>>;
}

/** See the module. */
export interface WorkerContext {
  /** From 1. */
  readonly index: number;
  /** How many workers there are. */
  readonly count: number;
  /** The unix socket of the relay between the workers; undefined where there is none to connect, or a broker does it. */
  readonly relay: string | undefined;
  /**
   * Resolves when it is this worker's turn to listen: on `port` where it is given, else on that of its settings; `join`
   * says that others share the port already.
   */
  turnToListen(): Promise<{ readonly port?: number; readonly join: boolean }>;
  /** The accept loop ended by itself, or is there again. */
  groupChanged(change: "lost" | "joined"): void;
  /**
   * Reloads certificate and tokens in all workers.
   * @throws {StartError} why the new ones are not usable
   */
  reloadAll(): Promise<void>;
  /** How many connections this worker has now: the total, and what changed since the last report. */
  reportCounts(counts: ConnectionTotals): void;
  /** Set by the service: takes what the other workers have, the total and what changed. */
  onCounts: (others: ConnectionTotals) => void;
}
