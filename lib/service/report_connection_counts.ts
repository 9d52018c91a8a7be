/**
 * Reports the connections of this worker to the other workers, and stores theirs. A report arrives after about ten
 * milliseconds. Within that time, simultaneous connections to several workers may exceed a limit.
 * @module
 */
import type { OtherConnections } from "../handshake/connection_limits.ts";
import type { ConnectionTotals, WorkerContext } from "./worker_context.ts";

/** Milliseconds for which changes are collected before they are reported. */
const REPORT_DELAY = 5;

/** The connection counts of the other workers, and the reports of this one. */
export class WorkerCounts implements OtherConnections, Disposable {
  readonly #worker: WorkerContext;
  readonly #perAddress: boolean;
  readonly #userSize: (user: string) => number;
  readonly #addresses = new Map<string, number>();
  readonly #users = new Map<string, number>();
  #total = 0;
  #ownTotal = 0;
  #changedAddresses: Record<string, number> = {};
  readonly #changedUsers = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param perAddress whether connections are limited by address; otherwise addresses are not reported
   * @param userSize returns the number of a user's connections in this worker
   */
  constructor(worker: WorkerContext, perAddress: boolean, userSize: (user: string) => number) {
    this.#worker = worker;
    this.#perAddress = perAddress;
    this.#userSize = userSize;
    worker.onCounts = (others) => this.#update(others);
  }

  get total(): number {
    return this.#total;
  }

  ofAddress(key: string): number {
    return this.#addresses.get(key) ?? 0;
  }

  /** The number of a user's connections in the other workers. */
  ofUser(user: string): number {
    return this.#users.get(user) ?? 0;
  }

  changed(total: number, key: string | undefined, held: number): void {
    this.#ownTotal = total;
    if (this.#perAddress && key !== undefined) this.#changedAddresses[key] = held;
    this.#schedule();
  }

  /** Called when the connections of a user have changed, or will change within this turn of the event loop. */
  userChanged(user: string): void {
    this.#changedUsers.add(user);
    this.#schedule();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const users = Object.fromEntries([...this.#changedUsers].map((user) => [user, this.#userSize(user)]));
      this.#worker.reportCounts({ total: this.#ownTotal, addresses: this.#changedAddresses, users });
      this.#changedAddresses = {};
      this.#changedUsers.clear();
    }, REPORT_DELAY);
  }

  #update({ total, addresses, users }: ConnectionTotals): void {
    this.#total = total;
    merge(this.#addresses, addresses);
    merge(this.#users, users);
  }
}

function merge(into: Map<string, number>, changes: Readonly<Record<string, number>>): void {
  for (const [key, count] of Object.entries(changes)) {
    if (count > 0) into.set(key, count);
    else into.delete(key);
  }
}
