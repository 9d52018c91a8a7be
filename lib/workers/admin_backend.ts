/**
 * The workers as the service behind the supervisor's admin listener.
 * @module
 */
import { deadline } from "@std/async/deadline";
import type { AdminBackend, Health } from "../admin/admin_listener.ts";
import { ApiError } from "../admin/api_error.ts";
import type { ApiCommand } from "../admin/api_methods.ts";
import { countsOf, mergeMetrics, type MetricValues, sharedMetrics } from "../metrics.ts";
import type { TlsText } from "../net/listener/accept_loop.ts";
import { processMetrics } from "../service/collect_metrics.ts";
import type { Supervisor } from "./supervisor.ts";
import type { WorkerProcess } from "./worker_process.ts";
import type { WorkerRequests } from "./control_channel.ts";

/** How long a worker may take to answer, ms; the service's own questions to other nodes take a second. */
const PATIENCE = 5_000;
/** The same for a scrape, whose scraper commonly waits for ten seconds. */
const SCRAPE_PATIENCE = 2_000;

/** See the module. */
export class WorkersBackend implements AdminBackend {
  readonly #supervisor: Supervisor;
  /** What each process said last. */
  readonly #known = new Map<WorkerProcess, MetricValues>();
  /** The counts of processes that have ended. */
  #ended: MetricValues = {};
  #next = 0;

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  async execute(command: ApiCommand): Promise<object> {
    return await this.#ask("call", command);
  }

  async health(): Promise<Health> {
    return await this.#ask("health", undefined);
  }

  /** The certificate that the workers serve with. */
  async certificate(): Promise<TlsText | undefined> {
    return await this.#ask("certificate", undefined);
  }

  async metrics(): Promise<MetricValues> {
    const serving = this.#supervisor.answering();
    // Those that are being replaced still have connections.
    const workers = [...new Set([...serving, ...this.#known.keys()])];
    await Promise.all(workers.map((worker) => this.#scrape(worker)));
    const parts = new Map([["ended", this.#ended], ["supervisor", processMetrics()]]);
    for (const [worker, values] of this.#known) {
      const current = serving.includes(worker);
      parts.set(current ? `${worker.index}` : `${worker.pid}`, current ? values : sharedMetrics(values));
    }
    return mergeMetrics(parts);
  }

  async #scrape(worker: WorkerProcess): Promise<void> {
    let values: MetricValues;
    try {
      values = await deadline(worker.request("metrics", undefined), SCRAPE_PATIENCE);
    } catch {
      // It hangs or has gone: what it said last stands.
      return;
    }
    if (worker.hasExited) return;
    if (!this.#known.has(worker)) void worker.exited.then(() => this.#forget(worker));
    this.#known.set(worker, values);
  }

  #forget(worker: WorkerProcess): void {
    const last = this.#known.get(worker);
    this.#known.delete(worker);
    if (last !== undefined) this.#ended = mergeMetrics(new Map([["", this.#ended], [" ", countsOf(last)]]));
  }

  /**
   * Asks one worker, each in its turn.
   * @throws {ApiError} none answers
   */
  async #ask<Name extends "call" | "health" | "certificate">(
    name: Name,
    argument: WorkerRequests[Name]["argument"],
  ): Promise<WorkerRequests[Name]["reply"]> {
    const workers = this.#supervisor.answering();
    const worker = workers[this.#next++ % workers.length];
    if (worker === undefined) throw new ApiError("notAvailable", "no worker of the service answers at the moment");
    try {
      return await deadline(worker.request(name, argument), PATIENCE);
    } catch (error) {
      // Whether it was done is not known: it is not asked of another one.
      if (worker.hasExited || !this.#supervisor.answering().includes(worker) || error instanceof DOMException) {
        throw new ApiError("notAvailable", "the worker that was asked has ended or does not answer; try again");
      }
      throw error;
    }
  }
}
