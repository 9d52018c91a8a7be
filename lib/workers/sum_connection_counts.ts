/**
 * Sums the counts of open connections of all workers, so that connection limits apply to the whole service.
 * @module
 */
import type { ConnectionTotals } from "../service/worker_context.ts";

/** Milliseconds for which changes are collected before they are sent. */
const BATCH_DELAY = 5;

/** Sums the counts of the workers, and sends each worker the sums of all other workers. */
export class ConnectionSums<Worker> {
  readonly #send: (worker: Worker, others: ConnectionTotals) => void;
  readonly #totals = new Map<Worker, number>();
  readonly #addresses = new CountsByKey<Worker>();
  readonly #users = new CountsByKey<Worker>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param send sends a worker the changed sums of the other workers */
  constructor(send: (worker: Worker, others: ConnectionTotals) => void) {
    this.#send = send;
  }

  /** Adds a worker. */
  add(worker: Worker): void {
    this.#totals.set(worker, 0);
    // A new worker needs all counts, not only the changes.
    this.#send(worker, {
      total: this.#sumOfOthers(worker),
      addresses: this.#addresses.sums(),
      users: this.#users.sums(),
    });
  }

  /** Sets the changed counts of a worker. */
  update(worker: Worker, { total, addresses, users }: ConnectionTotals): void {
    if (!this.#totals.has(worker)) return;
    this.#totals.set(worker, total);
    this.#addresses.set(worker, addresses);
    this.#users.set(worker, users);
    this.#schedule();
  }

  /** Removes a worker and its connections. */
  remove(worker: Worker): void {
    this.#totals.delete(worker);
    this.#addresses.remove(worker);
    this.#users.remove(worker);
    this.#schedule();
  }

  /** Stops sending. */
  stop(): void {
    clearTimeout(this.#timer);
  }

  #schedule(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const addresses = this.#addresses.takeChanges();
      const users = this.#users.takeChanges();
      for (const worker of this.#totals.keys()) {
        this.#send(worker, {
          total: this.#sumOfOthers(worker),
          addresses: this.#addresses.sumsOfOthers(worker, addresses),
          users: this.#users.sumsOfOthers(worker, users),
        });
      }
    }, BATCH_DELAY);
  }

  #sumOfOthers(worker: Worker): number {
    let sum = 0;
    for (const [other, total] of this.#totals) if (other !== worker) sum += total;
    return sum;
  }
}

/** Counts by key (address or user) and worker. */
class CountsByKey<Worker> {
  readonly #byKey = new Map<string, Map<Worker, number>>();
  readonly #changed = new Set<string>();

  set(worker: Worker, counts: Readonly<Record<string, number>>): void {
    for (const [key, count] of Object.entries(counts)) {
      const workers = this.#byKey.get(key) ?? new Map<Worker, number>();
      if (count > 0) this.#byKey.set(key, workers.set(worker, count));
      else this.#delete(key, worker);
      this.#changed.add(key);
    }
  }

  remove(worker: Worker): void {
    for (const [key, workers] of this.#byKey) {
      if (!workers.has(worker)) continue;
      this.#delete(key, worker);
      this.#changed.add(key);
    }
  }

  /** Returns the keys whose counts have changed since the last call. */
  takeChanges(): string[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  /** Returns the sums of all other workers for these keys. */
  sumsOfOthers(worker: Worker, keys: readonly string[]): Record<string, number> {
    return Object.fromEntries(keys.map((key) => {
      let sum = 0;
      for (const [other, count] of this.#byKey.get(key) ?? []) if (other !== worker) sum += count;
      return [key, sum];
    }));
  }

  /** Returns the sums of all workers. */
  sums(): Record<string, number> {
    return Object.fromEntries([...this.#byKey].map(([key, workers]) => {
      return [key, [...workers.values()].reduce((sum, count) => sum + count, 0)];
    }));
  }

  #delete(key: string, worker: Worker): void {
    const workers = this.#byKey.get(key);
    workers?.delete(worker);
    if (workers?.size === 0) this.#byKey.delete(key);
  }
}
