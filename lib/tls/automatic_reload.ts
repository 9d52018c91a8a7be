/**
 * Reloads files that have changed, and repeats a reload that fails.
 * @module
 */
import { stackOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";

/** Milliseconds from a failed attempt to the next one. */
const RETRY_AFTER = 60_000;

/** Options of {@link AutomaticReload}. */
export interface AutomaticReloadOptions {
  readonly log: Logger;
  /** The subject of the error that is logged. Default: the reload. */
  readonly what?: string;
  /** Milliseconds from a failed attempt to the next one. Default 60,000; less in tests. */
  readonly retryAfter?: number | undefined;
}

/**
 * A reload that begins when files have changed. If it fails, it is repeated until it succeeds: the reason may have been a
 * lack of descriptors, and the next change of a certificate may be months away. Disposing of it ends the attempts.
 */
export class AutomaticReload implements AsyncDisposable {
  readonly #reload: () => Promise<void>;
  readonly #log: Logger;
  readonly #what: string;
  readonly #retryAfter: number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Why the last attempt failed; undefined after a success and after a change. */
  #reason: string | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  /** @param reload throws if it fails; everything then stays as it was */
  constructor(
    reload: () => Promise<void>,
    { log, what = "the reload", retryAfter = RETRY_AFTER }: AutomaticReloadOptions,
  ) {
    this.#reload = reload;
    this.#log = log;
    this.#what = what;
    this.#retryAfter = retryAfter;
  }

  /** Whether the changed files could not be reloaded so far. */
  get isFailing(): boolean {
    return this.#reason !== undefined;
  }

  /**
   * Reloads files that have changed. Never rejects. A failure is logged, and again when its reason is another one.
   * @param first used for the first attempt
   */
  changed(first: () => Promise<void> = this.#reload): Promise<void> {
    this.#reason = undefined;
    return this.#run(first);
  }

  /** Must be called when the files were reloaded for another reason. No other attempt is then necessary. */
  done(): void {
    clearTimeout(this.#timer);
    this.#reason = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  #run(reload: () => Promise<void>): Promise<void> {
    const attempt = this.#attempt(reload);
    this.#running = Promise.all([this.#running, attempt]).then(() => {});
    return attempt;
  }

  async #attempt(reload: () => Promise<void>): Promise<void> {
    try {
      await reload();
    } catch (error) {
      const reason = error instanceof StartError ? error.message : stackOf(error);
      if (reason !== this.#reason) {
        this.#log.error(
          `${this.#what} failed, and the previous files stay in use until an attempt succeeds: ${reason}`,
        );
      }
      this.#reason = reason;
      clearTimeout(this.#timer);
      if (this.#stopped) return;
      this.#timer = setTimeout(() => void this.#run(this.#reload), this.#retryAfter);
      Deno.unrefTimer(this.#timer);
      return;
    }
    this.done();
  }
}
