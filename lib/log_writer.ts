/**
 * Writes log lines to standard error without blocking the event loop.
 * @module
 */

/** Options of a {@link LineWriter}. */
export interface LineWriterOptions {
  /** Writes some of the bytes and resolves with their number, like `Deno.Writer`. */
  write(bytes: Uint8Array): Promise<number>;
  /** The same but blocking: for the lines that are left when the process exits. */
  writeSync(bytes: Uint8Array): number;
  /** Bytes of lines that may wait. Default 1 MiB. */
  readonly limit?: number;
}

/** The maximum bytes of one write. Small writes show the progress of a slow reader. */
const MAX_BATCH = 16 * 1024;
const DEFAULT_LIMIT = 1024 ** 2;
/** Milliseconds without progress after which the reader counts as stopped. */
const STALLED_AFTER = 1_000;
/** Milliseconds that `flush` waits for a slow reader. */
const FLUSH_TIMEOUT = 5_000;
/** Milliseconds for Deno's thread to begin a write that was requested in this turn of the event loop. */
const BEGIN_TIMEOUT = 200;
/** Milliseconds until a failed write is tried again: the first and the longest delay. */
const RETRY_DELAY = [100, 1_000] as const;
/** Milliseconds between two blocking attempts to write to a full pipe. */
const SYNC_RETRY_DELAY = 20;

const encoder = new TextEncoder();
const NOTHING = new Uint8Array();

/**
 * A bounded queue in front of a slow reader. A line that does not fit is dropped and counted. Once the reader has
 * caught up, one line reports how many were dropped. A failed write is tried again, because its cause may end: a disk is
 * full, or another process has made the shared pipe non-blocking (EAGAIN if it is full). Only a closed pipe is final.
 */
export class LineWriter {
  readonly #options: LineWriterOptions;
  readonly #limit: number;
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  /** The unwritten rest of a batch whose write failed. */
  #rest: Uint8Array = NOTHING;
  #dropped = 0;
  #summarize: (dropped: number) => string = String;
  /** Resolves when everything is written. Undefined if nothing waits. */
  #pumping: Promise<void> | undefined;
  /** Ends the pause after a failed write. Undefined: no pause. */
  #retry: (() => void) | undefined;
  #progressAt = 0;
  #broken = false;

  constructor(options: LineWriterOptions) {
    this.#options = options;
    this.#limit = options.limit ?? DEFAULT_LIMIT;
  }

  /**
   * Queues a line. Never blocks and never throws.
   * @param summarize makes the line that reports how many were dropped, in the format of this one
   */
  write(line: string, summarize: (dropped: number) => string): void {
    // Standard error is closed.
    if (this.#broken) return;
    const bytes = encoder.encode(line + "\n");
    // The limit counts only waiting bytes: a line longer than the limit is written if nothing waits.
    if (this.#dropped > 0 || (this.#bytes > 0 && this.#bytes + bytes.length > this.#limit)) {
      this.#dropped++;
      this.#summarize = summarize;
      return;
    }
    this.#push(bytes);
    if (this.#pumping !== undefined) return;
    this.#progressAt = performance.now();
    this.#pumping = this.#pump();
  }

  /**
   * Waits until every line is written, at most 5 s for a slow reader and 1 s for a reader that has stopped.
   * @returns whether all lines were written
   */
  async flush(): Promise<boolean> {
    const since = performance.now();
    this.#retry?.();
    while (this.#pumping !== undefined) {
      const now = performance.now();
      const until = Math.min(since + FLUSH_TIMEOUT, Math.max(since, this.#progressAt) + STALLED_AFTER);
      if (now >= until) return false;
      const late = Promise.withResolvers<void>();
      const timer = setTimeout(late.resolve, until - now);
      await Promise.race([this.#pumping, late.promise]);
      clearTimeout(timer);
    }
    return true;
  }

  /**
   * Writes the remaining lines, blocking, unless the reader has stopped. For use when the process exits. Waits for a full
   * non-blocking pipe as long as `flush`; any other failed write ends it.
   */
  flushSync(): void {
    // During the pause after a failed write no other thread writes.
    if (this.#pumping !== undefined && this.#retry === undefined) {
      if (performance.now() - this.#progressAt >= STALLED_AFTER) return;
      // Another thread does the write in progress and may not have begun; a blocking write waits for it.
      block(BEGIN_TIMEOUT);
    }
    const since = performance.now();
    for (let bytes = this.#take(); bytes.length > 0;) {
      try {
        bytes = bytes.subarray(this.#options.writeSync(bytes));
        this.#progressAt = performance.now();
        if (bytes.length === 0) bytes = this.#take();
      } catch (error) {
        if (isFinal(error)) return this.#break();
        const now = performance.now();
        const stopped = now - Math.max(since, this.#progressAt) >= STALLED_AFTER || now - since >= FLUSH_TIMEOUT;
        if (stopped || !(error instanceof Deno.errors.WouldBlock)) return void (this.#rest = bytes);
        block(SYNC_RETRY_DELAY);
      }
    }
  }

  async #pump(): Promise<void> {
    // Begins in the next microtask, so that the lines of one turn are written together, and so that an exit in this turn
    // still finds all of them in the queue.
    await Promise.resolve();
    let delay: number = RETRY_DELAY[0];
    for (let bytes = this.#take(); bytes.length > 0; bytes = this.#take()) {
      try {
        while (bytes.length > 0) {
          bytes = bytes.subarray(await this.#options.write(bytes));
          this.#progressAt = performance.now();
          delay = RETRY_DELAY[0];
        }
      } catch (error) {
        if (isFinal(error)) {
          this.#break();
          break;
        }
        this.#rest = bytes;
        await this.#pause(delay);
        delay = Math.min(delay * 2, RETRY_DELAY[1]);
      }
    }
    this.#pumping = undefined;
  }

  /** Waits until the time has passed or `#retry` is called. Does not keep the process running. */
  async #pause(milliseconds: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, milliseconds);
    Deno.unrefTimer(timer);
    this.#retry = resolve;
    await promise;
    this.#retry = undefined;
    clearTimeout(timer);
  }

  /** Discards all lines, also later ones. */
  #break(): void {
    this.#broken = true;
    this.#waiting = [];
    this.#bytes = 0;
    this.#dropped = 0;
  }

  #push(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#bytes += bytes.length;
  }

  /**
   * Removes and returns the next bytes to write: the rest of a failed write, or the next lines, joined. The line that
   * reports dropped lines follows the last one.
   */
  #take(): Uint8Array {
    if (this.#rest.length > 0) {
      const rest = this.#rest;
      this.#rest = NOTHING;
      return rest;
    }
    if (this.#waiting.length === 0 && this.#dropped > 0) {
      const line = this.#summarize(this.#dropped);
      this.#dropped = 0;
      this.#push(encoder.encode(line + "\n"));
    }
    let count = 0;
    let size = 0;
    while (count < this.#waiting.length && (count === 0 || size + this.#waiting[count]!.length <= MAX_BATCH)) {
      size += this.#waiting[count++]!.length;
    }
    const batch = new Uint8Array(size);
    let at = 0;
    for (const line of this.#waiting.splice(0, count)) {
      batch.set(line, at);
      at += line.length;
    }
    this.#bytes -= size;
    return batch;
  }
}

/** Whether no later write can succeed: the reader of the pipe has closed it, or the descriptor is closed. */
function isFinal(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.BadResource ||
    (error as { code?: unknown })?.code === "EBADF";
}

/** Blocks this thread. */
function block(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

let shared: LineWriter | undefined;

/** Returns the only writer of standard error. Its waiting lines are written when the process exits through `Deno.exit`. */
export function stderrWriter(): LineWriter {
  if (shared === undefined) {
    const writer = shared = new LineWriter(Deno.stderr);
    globalThis.addEventListener("unload", () => writer.flushSync());
  }
  return shared;
}

/** Waits until everything written to standard error so far has left the process; see {@link LineWriter.flush}. */
export async function flushStderr(): Promise<boolean> {
  return await shared?.flush() ?? true;
}
