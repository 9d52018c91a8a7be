/**
 * The sockets of all workers on their port: which there are, and how they are replaced without losing a connection.
 * @module
 */
import { ReusePortGroup, spreadOver } from "../net/listener/reuseport_group.ts";
import type { WorkerProcess } from "./worker_process.ts";

interface Socket {
  readonly worker: WorkerProcess;
}

/** How often a replacement starts over because a worker died in the middle of it. */
const ATTEMPTS = 5;

/** See the module. Every method that changes sockets runs while no other one does. */
export class SharedPort {
  readonly #group = new ReusePortGroup<Socket>();
  /** Workers that do not answer: new connections avoid them, and nothing is asked of them. */
  readonly #hung: ReadonlySet<WorkerProcess>;

  constructor(hung: ReadonlySet<WorkerProcess>) {
    this.#hung = hung;
  }

  /** Whether anybody listens. */
  get isOpen(): boolean {
    return this.#group.sockets.length > 0;
  }

  /** A worker listens on one more socket. */
  add(worker: WorkerProcess): void {
    this.#group.add({ worker });
  }

  /** One socket of a worker was lost: its newest. */
  lose(worker: WorkerProcess): void {
    const socket = this.#group.sockets.findLast((each) => each.worker === worker);
    if (socket) this.#group.remove(socket);
  }

  /** A worker has gone, and its sockets with it. The kernel closes them in the order in which they were opened. */
  remove(worker: WorkerProcess): void {
    for (const socket of this.#group.sockets.filter((each) => each.worker === worker)) this.#group.remove(socket);
  }

  /** Gives new connections to workers that answer; where all do, the kernel chooses by its hash. */
  async steer(): Promise<void> {
    const answers = ({ worker }: Socket) => !this.#hung.has(worker);
    const steering = this.#group.sockets.find(answers)?.worker;
    if (steering === undefined) return;
    const all = this.#group.sockets.every(answers);
    await steering.request("steer", all ? null : spreadOver(this.#group.indexesOf(answers)));
  }

  /**
   * Replaces every socket that there is by new ones: gives all new connections to the new ones, waits until nothing waits
   * on the old ones, and closes those. When a worker dies meanwhile, it starts over: every socket is then an old one.
   * @param open opens the new ones, through `add`
   * @throws {Error} what `open` threw; the sockets that there were go on then
   */
  async replace(open: () => Promise<void>): Promise<void> {
    for (let attempt = 1;; attempt++) {
      const old = new Set(this.#group.sockets);
      await open();
      try {
        return await this.#switch(old);
      } catch (error) {
        if (attempt === ATTEMPTS || !this.isOpen) throw error;
      }
    }
  }

  /** Takes back the sockets that were opened since `known` was all that there was. */
  async dropSince(known: readonly unknown[]): Promise<void> {
    const isKnown = (socket: Socket) => known.includes(socket);
    const added = this.#group.sockets.filter((socket) => !isKnown(socket));
    if (added.length === 0) return;
    const steering = this.#group.sockets.find((socket) => isKnown(socket) && this.#reachable(socket.worker))?.worker;
    if (steering !== undefined) {
      await steering.request("steer", spreadOver(this.#group.indexesOf(isKnown))).catch(() => {});
    }
    // The last first: then the indexes of the others stay.
    for (const socket of added.reverse()) {
      await socket.worker.request("dropNext", undefined).catch(() => {});
      this.#group.remove(socket);
    }
    await this.steer().catch(() => {});
  }

  /** What there is now, for `dropSince`. */
  get sockets(): readonly unknown[] {
    return [...this.#group.sockets];
  }

  async #switch(old: ReadonlySet<Socket>): Promise<void> {
    const isNew = (socket: Socket) => !old.has(socket);
    const steering = this.#group.sockets.find(isNew)!.worker;
    await steering.request("steer", spreadOver(this.#group.indexesOf(isNew)));
    const leaving = new Set([...old].map(({ worker }) => worker).filter((worker) => this.#reachable(worker)));
    const which = (worker: WorkerProcess) =>
      this.#group.sockets.some((socket) => socket.worker === worker && isNew(socket)) ? "old" : "all";
    await Promise.all([...leaving].map((worker) => worker.request("emptyQueues", which(worker))));
    for (const worker of leaving) {
      // While sockets leave, indexes change. That of a new socket which is not the last stays.
      const indexes = this.#group.indexesOf(isNew);
      await steering.request("steer", spreadOver([indexes[0]!]));
      await worker.request("closeSockets", which(worker));
      for (const socket of old) if (socket.worker === worker) this.#group.remove(socket);
    }
    await this.steer();
  }

  #reachable(worker: WorkerProcess): boolean {
    return !worker.hasExited && !this.#hung.has(worker);
  }
}
