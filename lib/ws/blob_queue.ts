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
   * @param fail called with an error that a task threw, after `done`; later tasks are dropped
   * @param done called right after the last task. The queue must not be used after that.
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
    if (!this.#running) void this.#run();
  }

  /**
   * Calls `done` in the same turn in which it finds no task. A task that is pushed after that would never run (measured: an
   * app that itself reads the Blob sends its next message within a few microtasks).
   */
  async #run(): Promise<void> {
    this.#running = true;
    try {
      for (let task; (task = this.#tasks.shift()) !== undefined;) await task();
    } catch (error) {
      this.#done();
      return this.#fail(error);
    }
    this.#done();
  }
}
