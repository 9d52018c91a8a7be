/**
 * The connections of this worker, told to the others, and theirs. A worker knows of the others' connections about ten
 * milliseconds after they were made: so much later a limit may be passed by what comes in at several workers at once.
 * @module
 */
import type { OtherConnections } from "../handshake/admission.ts";
import type { ConnectionTotals, WorkerContext } from "./worker_context.ts";

/** Milliseconds for which changes are collected. */
const COLLECT = 5;

/** See the module. */
export class WorkerCounts implements OtherConnections, Disposable {
  readonly #worker: WorkerContext;
  readonly #perAddress: boolean;
  readonly #userSize: (user: string) => number;
  readonly #addresses = new Map<string, number>();
  readonly #users = new Map<string, number>();
  #total = 0;
  #here = 0;
  #changedAddresses: Record<string, number> = {};
  readonly #changedUsers = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  /**
   * @param perAddress whether connections are limited by address: otherwise addresses are not told
   * @param userSize how many connections of a user are here
   */
  constructor(worker: WorkerContext, perAddress: boolean, userSize: (user: string) => number) {
    this.#worker = worker;
    this.#perAddress = perAddress;
    this.#userSize = userSize;
    worker.onCounts = (others) => this.#take(others);
  }

  get total(): number {
    return this.#total;
  }

  ofAddress(key: string): number {
    return this.#addresses.get(key) ?? 0;
  }

  /** The others' connections of one user. */
  ofUser(user: string): number {
    return this.#users.get(user) ?? 0;
  }

  changed(total: number, key: string | undefined, held: number): void {
    this.#here = total;
    if (this.#perAddress && key !== undefined) this.#changedAddresses[key] = held;
    this.#schedule();
  }

  /** The connections of a user have changed, or will within this turn of the event loop. */
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
      this.#worker.reportCounts({ total: this.#here, addresses: this.#changedAddresses, users });
      this.#changedAddresses = {};
      this.#changedUsers.clear();
    }, COLLECT);
  }

  #take({ total, addresses, users }: ConnectionTotals): void {
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
