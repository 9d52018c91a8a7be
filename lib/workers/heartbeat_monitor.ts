/**
 * Detects workers that do not answer, by their missing heartbeats. New connections avoid them; after a time limit they are
 * killed.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** Options of a heartbeat monitor. */
export interface HeartbeatMonitorOptions {
  /** Milliseconds without a heartbeat after which a worker is killed. After a tenth of it, the worker counts as hung. */
  readonly workerTimeout: number;
  readonly log: Logger;
  /** Receives the workers that do not answer. */
  readonly hung: Set<WorkerProcess>;
  /** Returns the workers that must send heartbeats. */
  monitored(): readonly WorkerProcess[];
  /** Directs new connections to the workers that answer. Never rejects. */
  steer(): Promise<void>;
  /** Reloads all workers, because a worker that answers again may have missed a reload. */
  reload(): Promise<void>;
}

/** Checks the heartbeats of all workers at regular intervals. */
export class HeartbeatMonitor {
  readonly #options: HeartbeatMonitorOptions;
  readonly #interval: number;
  #timer: ReturnType<typeof setInterval> | undefined;
  #checkedAt = 0;

  constructor(options: HeartbeatMonitorOptions) {
    this.#options = options;
    this.#interval = options.workerTimeout / 20;
  }

  /** Starts the checks. */
  start(): void {
    this.#checkedAt = performance.now();
    this.#timer = setInterval(() => this.#check(), this.#interval);
  }

  /** Ends the checks. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const { workerTimeout, log, hung, monitored } = this.#options;
    const now = performance.now();
    const delayed = now - this.#checkedAt > 3 * this.#interval;
    this.#checkedAt = now;
    // If the machine was suspended or the supervisor was blocked, heartbeats are unread. All workers get a new deadline.
    if (delayed) {
      for (const worker of monitored()) worker.heardAt = now;
      return;
    }
    for (const worker of monitored()) {
      const silence = now - worker.heardAt;
      const isHung = silence > workerTimeout / 10;
      if (silence > workerTimeout) {
        log.error(`worker ${worker.index} has not answered for ${Math.round(silence / 1000)} s: killing it`);
        worker.signal("SIGKILL");
      } else if (isHung !== hung.has(worker)) {
        this.#changed(worker, isHung);
      }
    }
  }

  #changed(worker: WorkerProcess, isHung: boolean): void {
    const { log, hung, steer, reload } = this.#options;
    if (isHung) hung.add(worker);
    else hung.delete(worker);
    const what = isHung ? "does not answer; new connections go to the other workers" : "answers again";
    // Logged after the change has taken effect.
    void steer().then(() => log.warn(`worker ${worker.index} ${what}`, { pid: worker.pid }));
    if (!isHung) reload().catch((error) => log.error(messageOf(error)));
  }
}
