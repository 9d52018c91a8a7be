/**
 * Keeps the order of messages around a Blob. Reading a Blob is asynchronous, so later messages wait for it.
 * @module
 */

/** The maximum number of waiting tasks. A Blob is read within one or two turns of the event loop. */
const MAX_TASKS = 10_000;

/** Runs tasks one after the other. Created for the first Blob, and dropped when no task waits. */
export class BlobQueue {
  readonly #tasks: (() => unknown)[] = [];
  readonly #fail: (error: unknown) => void;
  readonly #done: () => void;
  #running = false;

  /**
   * @param fail called with an error that a task threw; later tasks are dropped
   * @param done called after the last task
   */
  constructor(fail: (error: unknown) => void, done: () => void) {
    this.#fail = fail;
    this.#done = done;
  }

  /** Whether the queue accepts no further task. */
  get full(): boolean {
    return this.#tasks.length >= MAX_TASKS;
  }

  push(task: () => unknown): void {
    this.#tasks.push(task);
    if (!this.#running) this.#run().catch(this.#fail).finally(this.#done);
  }

  async #run(): Promise<void> {
    this.#running = true;
    for (let task; (task = this.#tasks.shift()) !== undefined;) await task();
  }
}
