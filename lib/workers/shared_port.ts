/**
 * The sockets of all workers on their shared port, and their replacement without losing a connection.
 * @module
 */
import { ReusePortGroup, spreadOver } from "../net/listener/reuseport_group.ts";
import type { WorkerProcess } from "./worker_process.ts";

interface Socket {
  readonly worker: WorkerProcess;
}

/** The most attempts of a replacement. An attempt fails if a worker dies during it. */
const MAX_ATTEMPTS = 5;

/** The sockets of the port. Methods that change sockets must not run concurrently. */
export class SharedPort {
  readonly #group = new ReusePortGroup<Socket>();
  /** Workers that do not answer. They get no new connections and no requests. */
  readonly #hung: ReadonlySet<WorkerProcess>;

  constructor(hung: ReadonlySet<WorkerProcess>) {
    this.#hung = hung;
  }

  /** Whether at least one worker listens. */
  get isOpen(): boolean {
    return this.#group.sockets.length > 0;
  }

  /** Adds a socket of a worker. */
  add(worker: WorkerProcess): void {
    this.#group.add({ worker });
  }

  /** Removes the newest socket of a worker. */
  removeNewest(worker: WorkerProcess): void {
    const socket = this.#group.sockets.findLast((each) => each.worker === worker);
    if (socket) this.#group.remove(socket);
  }

  /** Removes all sockets of a worker that exited, in the order in which they were opened, as the kernel does. */
  remove(worker: WorkerProcess): void {
    for (const socket of this.#group.sockets.filter((each) => each.worker === worker)) this.#group.remove(socket);
  }

  /** Directs new connections to the workers that answer. If all answer, the kernel's hash chooses. */
  async steer(): Promise<void> {
    const isAnswering = ({ worker }: Socket) => !this.#hung.has(worker);
    const steering = this.#group.sockets.find(isAnswering)?.worker;
    if (steering === undefined) return;
    const all = this.#group.sockets.every(isAnswering);
    await steering.request("steer", all ? null : spreadOver(this.#group.indexesOf(isAnswering)));
  }

  /**
   * Replaces all sockets: directs new connections to the new sockets, waits until the accept queues of the old ones are
   * empty, and closes the old ones. If a worker dies meanwhile, the replacement starts again.
   * @param open opens the new sockets and calls `add` for each
   * @param keep whether `open` keeps the sockets of earlier attempts, and opens only those that are missing. Otherwise it
   * opens all, and those of earlier attempts are closed, too
   * @throws {Error} the error of `open`; the old sockets then stay in use
   */
  async replace(open: () => Promise<void>, keep: boolean): Promise<void> {
    let old = new Set(this.#group.sockets);
    for (let attempt = 1;; attempt++) {
      await open();
      try {
        return await this.#switch(old);
      } catch (error) {
        if (attempt === MAX_ATTEMPTS || !this.isOpen) throw error;
      }
      if (!keep) old = new Set(this.#group.sockets);
    }
  }

  /** Closes the sockets of a worker, after new connections were directed to the others. */
  async close(worker: WorkerProcess): Promise<void> {
    const own = new Set(this.#group.sockets.filter((socket) => socket.worker === worker));
    if (this.#group.sockets.some((socket) => !own.has(socket) && this.#isReachable(socket.worker))) {
      return await this.#switch(own);
    }
    await worker.request("closeSockets", "all");
    this.remove(worker);
  }

  /** Closes all sockets that are not in `known`. */
  async closeOthers(known: readonly unknown[]): Promise<void> {
    const isKnown = (socket: Socket) => known.includes(socket);
    const added = this.#group.sockets.filter((socket) => !isKnown(socket));
    if (added.length === 0) return;
    const steering = this.#group.sockets.find((socket) => isKnown(socket) && this.#isReachable(socket.worker))?.worker;
    if (steering !== undefined) {
      await steering.request("steer", spreadOver(this.#group.indexesOf(isKnown))).catch(() => {});
    }
    // Closed in reverse order, so that the indexes of the others do not change.
    for (const socket of added.reverse()) {
      const { worker } = socket;
      const keepsOther = this.#group.sockets.some((other) => other !== socket && other.worker === worker);
      const closed = keepsOther ? worker.request("dropNext", undefined) : worker.request("closeSockets", "all");
      await closed.catch(() => {});
      this.#group.remove(socket);
    }
    await this.steer().catch(() => {});
  }

  /** The current sockets, for `closeOthers`. */
  get sockets(): readonly unknown[] {
    return [...this.#group.sockets];
  }

  async #switch(old: ReadonlySet<Socket>): Promise<void> {
    const isNew = (socket: Socket) => !old.has(socket);
    const added = this.#group.sockets.filter(isNew);
    const reachable = added.filter(({ worker }) => this.#isReachable(worker));
    // If no new worker answers, the first request waits until one does, or rejects when it is killed.
    const targets = new Set(reachable.length > 0 ? reachable : added);
    const isTarget = (socket: Socket) => targets.has(socket);
    const steering = this.#group.sockets.find(isTarget)?.worker;
    if (steering === undefined) throw new Error("the new workers have exited");
    await steering.request("steer", spreadOver(this.#group.indexesOf(isTarget)));
    const closing = this.#group.sockets.filter((socket) => !isNew(socket) && this.#isReachable(socket.worker));
    const leaving = new Set(closing.map(({ worker }) => worker));
    const which = (worker: WorkerProcess) =>
      this.#group.sockets.some((socket) => socket.worker === worker && isNew(socket)) ? "old" : "all";
    await Promise.all([...leaving].map((worker) => worker.request("emptyQueues", which(worker))));
    for (const worker of leaving) {
      // Closing a socket moves the last one to its index. A new socket that is not the last keeps its index.
      const indexes = this.#group.indexesOf(isTarget);
      await steering.request("steer", spreadOver([indexes[0]!]));
      await worker.request("closeSockets", which(worker));
      for (const socket of old) if (socket.worker === worker) this.#group.remove(socket);
    }
    await this.steer();
  }

  #isReachable(worker: WorkerProcess): boolean {
    return !worker.hasExited && !this.#hung.has(worker);
  }
}
