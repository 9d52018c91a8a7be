/**
 * The order of what is sent around a Blob: its bytes come a moment later, and what is sent meanwhile goes after them.
 * @module
 */

/** Tasks that may wait: a Blob is read within a turn of the event loop or two. */
const MOST = 10_000;

/** Runs tasks one after the other; made for the first Blob, and done when nothing waits. */
export class BlobQueue {
  readonly #tasks: (() => unknown)[] = [];
  readonly #fail: (error: unknown) => void;
  readonly #done: () => void;
  #running = false;

  /**
   * @param fail told what a task threw; the tasks behind it are dropped
   * @param done called when the last task has run
   */
  constructor(fail: (error: unknown) => void, done: () => void) {
    this.#fail = fail;
    this.#done = done;
  }

  /** Whether no further task may be added. */
  get full(): boolean {
    return this.#tasks.length >= MOST;
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
