/**
 * Keeps the order of messages around a Blob. Reading a Blob is asynchronous, so later messages wait for it.
 * @module
 */
import type { Payload } from "../hub/topics.ts";

/** The maximum number of waiting tasks. A Blob is read within one or two turns of the event loop. */
const MAX_TASKS = 10_000;

/** What the queue calls. */
export interface BlobQueueOptions {
  /** Sends a message. */
  deliver(payload: Payload): void;
  /** Called with an error that a task threw, after `done`. Later tasks are dropped. */
  fail(error: unknown): void;
  /** Called right after the last task. The queue must not be used after that. */
  done(): void;
}

/** The messages of one peer that wait for a Blob. Created for the first Blob, and dropped when no task waits. */
export class BlobQueue {
  readonly #options: BlobQueueOptions;
  readonly #tasks: { readonly run: () => unknown; readonly bytes: number }[] = [];
  #running = false;
  #bytes = 0;
  #closing = false;

  constructor(options: BlobQueueOptions) {
    this.#options = options;
  }

  /** The waiting bytes, with those of the Blob that is being read. Text counts one byte per UTF-16 unit. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Whether a close waits for the messages. */
  get closing(): boolean {
    return this.#closing;
  }

  /** Sends a message after the earlier ones. Returns false, and drops it, if too many wait. */
  send(data: Payload | Blob): boolean {
    if (this.#tasks.length >= MAX_TASKS) return false;
    const { deliver } = this.#options;
    if (data instanceof Blob) this.#push(async () => deliver(await data.bytes()), data.size);
    else {
      // The bytes are valid only during the call.
      const kept = typeof data === "string" ? data : data.slice(0);
      this.#push(() => deliver(kept), typeof kept === "string" ? kept.length : kept.byteLength);
    }
    return true;
  }

  /** Closes after the earlier messages. */
  close(run: () => void): void {
    this.#closing = true;
    this.#push(run, 0);
  }

  #push(run: () => unknown, bytes: number): void {
    this.#bytes += bytes;
    this.#tasks.push({ run, bytes });
    if (!this.#running) void this.#run();
  }

  /**
   * Calls `done` in the same turn in which it finds no task. A task that is pushed after that would never run (measured: an
   * app that itself reads the Blob sends its next message within a few microtasks).
   */
  async #run(): Promise<void> {
    this.#running = true;
    try {
      for (let task; (task = this.#tasks.shift()) !== undefined;) {
        await task.run();
        this.#bytes -= task.bytes;
      }
    } catch (error) {
      this.#options.done();
      return this.#options.fail(error);
    }
    this.#options.done();
  }
}
