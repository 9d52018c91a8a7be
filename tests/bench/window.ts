/**
 * The time in which is measured: after the warm-up, for so many seconds, on both processes' clocks.
 * @module
 */
import { cpuSeconds } from "../support/proc.ts";
import { Histogram } from "./histogram.ts";
import type { Job, Measured } from "./job.ts";
import { pause } from "./pause.ts";

/** Counts while it is open. */
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

  /** Whether the load is to end. */
  get over(): boolean {
    return this.#over;
  }

  /** Counts so many that took this long, ms. */
  add(ms: number, times: number): void {
    this.#count += times;
    this.histogram.add(ms, times);
  }

  /** A connection failed: so does the measurement. */
  fail(error: unknown): void {
    if (!this.#over) this.#failure.reject(error);
  }

  /** Waits for the warm-up to pass, then measures. */
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
