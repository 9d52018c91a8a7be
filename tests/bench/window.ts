/**
 * The time of the measurement, after the warm-up. Counts messages and the CPU of the server and the generator.
 * @module
 */
import { cpuSeconds } from "../support/proc.ts";
import { Histogram } from "./histogram.ts";
import type { Job, Measured } from "./job.ts";
import { pause } from "./pause.ts";

/** Counts messages and latencies during the measurement. */
export class Window {
  readonly histogram = new Histogram();
  readonly #job: Job;
  readonly #failure = Promise.withResolvers<never>();
  #count = 0;
  #over = false;

  constructor(job: Job) {
    this.#job = job;
    this.#failure.promise.catch(() => {});
  }

  /** Whether the load must end. */
  get over(): boolean {
    return this.#over;
  }

  /** Counts a number of messages with this latency, ms. */
  add(ms: number, times: number): void {
    this.#count += times;
    this.histogram.add(ms, times);
  }

  /** Makes the measurement fail, because a connection failed. */
  fail(error: unknown): void {
    if (!this.#over) this.#failure.reject(error);
  }

  /** Waits for the warm-up, then measures. */
  async measure(): Promise<Measured> {
    const { pid, workers = [], warmUp, seconds } = this.#job;
    const serverSeconds = () => [pid, ...workers].reduce((sum, each) => sum + cpuSeconds(each), 0);
    await this.#pass(warmUp);
    this.#count = 0;
    this.histogram.clear();
    const server = serverSeconds();
    const generator = cpuSeconds(Deno.pid);
    const began = performance.now();
    await this.#pass(seconds);
    const measured = {
      count: this.#count,
      seconds: (performance.now() - began) / 1000,
      serverCpu: serverSeconds() - server,
      generatorCpu: cpuSeconds(Deno.pid) - generator,
      latency: this.histogram.latency(),
      failed: 0,
    };
    this.#over = true;
    return measured;
  }

  async #pass(seconds: number): Promise<void> {
    await Promise.race([pause(seconds * 1000), this.#failure.promise]);
  }
}
