/**
 * Answers the requests of the supervisor's admin listener by asking the workers.
 * @module
 */
import { deadline } from "@std/async/deadline";
import type { AdminBackend, Health } from "../admin/admin_listener.ts";
import { ApiError } from "../admin/api_error.ts";
import type { ApiCommand } from "../admin/api_methods.ts";
import { countersOf, mergeMetrics, type MetricValues, sharedMetrics } from "../metrics.ts";
import type { TlsText } from "../net/listener/accept_loop.ts";
import { processMetrics } from "../service/collect_metrics.ts";
import type { Supervisor } from "./supervisor.ts";
import type { WorkerProcess } from "./worker_process.ts";
import type { WorkerRequests } from "./control_channel.ts";

/** How long a worker may take to answer, ms. The worker itself waits one second for other nodes. */
const REQUEST_TIMEOUT = 5_000;
/** How long a worker may take to send its metrics, ms. Prometheus waits ten seconds for a scrape. */
const METRICS_TIMEOUT = 2_000;

/** The admin backend of a service with workers. */
export class WorkersBackend implements AdminBackend {
  readonly #supervisor: Supervisor;
  /** The last metrics of each process. */
  readonly #lastMetrics = new Map<WorkerProcess, MetricValues>();
  /** The sums of the counters of processes that have exited. */
  #exited: MetricValues = {};
  #requests = 0;

  constructor(supervisor: Supervisor) {
    this.#supervisor = supervisor;
  }

  async execute(command: ApiCommand): Promise<object> {
    return await this.#request("call", command);
  }

  async health(): Promise<Health> {
    return await this.#request("health", undefined);
  }

  /** Returns the certificate that the workers use. */
  async certificate(): Promise<TlsText | undefined> {
    return await this.#request("certificate", undefined);
  }

  async metrics(): Promise<MetricValues> {
    const serving = this.#supervisor.answering();
    // Workers that are being replaced still have connections.
    const workers = [...new Set([...serving, ...this.#lastMetrics.keys()])];
    await Promise.all(workers.map((worker) => this.#updateMetrics(worker)));
    const parts = new Map([["ended", this.#exited], ["supervisor", processMetrics()]]);
    for (const [worker, values] of this.#lastMetrics) {
      const current = serving.includes(worker);
      parts.set(current ? `${worker.index}` : `${worker.pid}`, current ? values : sharedMetrics(values));
    }
    return mergeMetrics(parts);
  }

  async #updateMetrics(worker: WorkerProcess): Promise<void> {
    let values: MetricValues;
    try {
      values = await deadline(worker.request("metrics", undefined), METRICS_TIMEOUT);
    } catch {
      // The worker hangs or has exited: its last metrics are used.
      return;
    }
    if (worker.hasExited) return;
    if (!this.#lastMetrics.has(worker)) void worker.exited.then(() => this.#addToExited(worker));
    this.#lastMetrics.set(worker, values);
  }

  #addToExited(worker: WorkerProcess): void {
    const last = this.#lastMetrics.get(worker);
    this.#lastMetrics.delete(worker);
    if (last !== undefined) this.#exited = mergeMetrics(new Map([["", this.#exited], [" ", countersOf(last)]]));
  }

  /**
   * Sends a request to the next worker in turn.
   * @throws {ApiError} if no worker answers
   */
  async #request<Name extends "call" | "health" | "certificate">(
    name: Name,
    argument: WorkerRequests[Name]["argument"],
  ): Promise<WorkerRequests[Name]["reply"]> {
    const answering = this.#supervisor.answering();
    // A worker that is stopping has the certificate from before a reload, and may no longer reach the other workers.
    const active = answering.filter(({ stopping }) => !stopping);
    const workers = active.length > 0 ? active : answering;
    const worker = workers[this.#requests++ % workers.length];
    if (worker === undefined) throw new ApiError("notAvailable", "no worker answers at the moment; try again");
    try {
      return await deadline(worker.request(name, argument), REQUEST_TIMEOUT);
    } catch (error) {
      // The worker may have executed the command, so it is not sent to another worker.
      if (worker.hasExited || !this.#supervisor.answering().includes(worker) || error instanceof DOMException) {
        throw new ApiError("notAvailable", "the worker has exited or does not answer; try again");
      }
      throw error;
    }
  }
}
