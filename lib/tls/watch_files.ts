/**
 * Detects that certificate files have new content, however they are replaced. It does not load them.
 * @module
 */
import { createHash } from "node:crypto";
import { messageOf, readFailure } from "../errors.ts";
import { type Logger, silent } from "../log.ts";
import { resolveWatchPaths, type WatchPaths } from "./symlink_paths.ts";

/** Options of {@link watchFiles}. */
export interface WatchOptions {
  readonly log?: Logger;
  /**
   * How long files must stay unchanged before a change is reported, ms, because certificate and key are written one
   * after the other. Default 1000.
   */
  readonly settle?: number;
  /** Interval at which the content is compared without an event, ms; network file systems raise none. Default 60000. */
  readonly poll?: number;
  /** What the files are, for the log. Default `certificate files`. */
  readonly what?: string;
  /** Whether to treat a missing file as empty; otherwise the watch waits for it. Default false. */
  readonly missingIsEmpty?: boolean;
}

/**
 * Interval of checks of the folders, ms. No event reports that a folder was removed and created again, or moved with a
 * folder above it.
 */
const FOLDER_POLL = 2_000;

/**
 * Watches files, and calls `onChange` once for each change of their content, but not for a touch, a read, or a write of
 * the same content. It detects files that are written in place, replaced by a rename, or swapped by a symbolic link
 * anywhere on their path. If a file is missing, it waits for the file. It reports changes after this call: watch first,
 * then load.
 *
 * Errors of `onChange` are logged; calls do not overlap.
 * @returns an object that ends the watch when disposed; after that is awaited no call is running and none follows
 */
export function watchFiles(
  paths: readonly string[],
  onChange: () => void | Promise<void>,
  options: WatchOptions = {},
): AsyncDisposable {
  return new FileWatch(paths, onChange, options);
}

class FileWatch implements AsyncDisposable {
  readonly #paths: readonly string[];
  readonly #onChange: () => void | Promise<void>;
  readonly #log: Logger;
  readonly #settle: number;
  readonly #poll: number;
  readonly #fileDescription: string;
  readonly #missingIsEmpty: boolean;
  #fingerprintInUse: string | undefined;
  #watchPaths: WatchPaths;
  #watcher: Deno.FsWatcher | undefined;
  #reading: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #checking: Promise<void> | undefined;
  #eventsSeen = false;
  #comparedAt = performance.now();
  #lastWarning = "";
  #cancelWait: () => void = () => {};
  #closed = false;

  constructor(paths: readonly string[], onChange: () => void | Promise<void>, options: WatchOptions) {
    const { log = silent, settle = 1000, poll = 60_000, what = "certificate files", missingIsEmpty = false } = options;
    this.#paths = [...new Set(paths)];
    this.#onChange = onChange;
    this.#log = log;
    this.#settle = settle;
    this.#poll = poll;
    this.#fileDescription = what;
    this.#missingIsEmpty = missingIsEmpty;
    this.#watchPaths = resolveWatchPaths(this.#paths);
    // Watch before the first reading, so that no change is missed in between.
    this.#watch();
    // The loader reports current problems of the files; the watch reports only later ones.
    this.#fingerprintInUse = this.#fingerprint(() => {});
    this.#schedule(this.#checkInterval());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#cancelWait();
    this.#close();
    await this.#reading;
    await this.#checking;
  }

  #watch(): void {
    this.#close();
    try {
      const folders = this.#watchPaths.folders.filter((folder) => exists(folder));
      this.#watcher = Deno.watchFs(folders, { recursive: false });
      this.#reading = Promise.all([this.#reading, this.#read(this.#watcher)]).then(() => {});
    } catch (error) {
      this.#logOnce(`${this.#fileDescription} cannot be watched, only compared at intervals`, messageOf(error));
    }
  }

  #close(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  async #read(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const { kind, paths, flag } of watcher) {
        // Reading raises events too, including the reads of this watch.
        if (kind === "access") continue;
        const matters = flag === "rescan" || paths.length === 0 ||
          paths.some((path) => this.#watchPaths.watched.has(path));
        if (matters && !this.#closed) this.#changed();
      }
    } catch (error) {
      this.#log.warn(`watching ${this.#fileDescription} ended`, { reason: messageOf(error) });
    }
  }

  /** The first event starts the wait. Later ones do not extend it, or a busy file would delay it for ever. */
  #changed(): void {
    if (this.#eventsSeen) return;
    this.#eventsSeen = true;
    if (this.#checking === undefined) this.#schedule(this.#settle);
  }

  #schedule(wait: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#checking = this.#check().finally(() => {
        this.#checking = undefined;
        this.#schedule(this.#checkInterval());
      });
    }, wait);
  }

  /** Milliseconds until the next check. */
  #checkInterval(): number {
    return this.#eventsSeen ? this.#settle : Math.min(this.#poll, FOLDER_POLL);
  }

  async #check(): Promise<void> {
    const watchPaths = resolveWatchPaths(this.#paths);
    const replaced = watchPaths.identity !== this.#watchPaths.identity;
    const due = performance.now() - this.#comparedAt >= this.#poll;
    if (!replaced && !due && !this.#eventsSeen && this.#watcher !== undefined) return;
    this.#eventsSeen = false;
    this.#watchPaths = watchPaths;
    if (replaced || this.#watcher === undefined) this.#watch();
    this.#comparedAt = performance.now();

    const fresh = await this.#awaitSettled();
    if (fresh === undefined || this.#closed) return;
    this.#fingerprintInUse = fresh;
    try {
      await this.#onChange();
    } catch (error) {
      this.#log.error(`the change of ${this.#fileDescription} could not be applied`, { reason: messageOf(error) });
    }
  }

  /**
   * The new fingerprint after it stayed the same for the settling time; undefined if nothing changed or a file is
   * missing.
   */
  async #awaitSettled(): Promise<string | undefined> {
    for (;;) {
      const seen = this.#fingerprint();
      if (seen === undefined || seen === this.#fingerprintInUse) return undefined;
      await new Promise<void>((resolve) => {
        this.#cancelWait = resolve;
        this.#timer = setTimeout(resolve, this.#settle);
      });
      if (this.#closed) return undefined;
      if (this.#fingerprint() === seen) return seen;
    }
  }

  /** A text that identifies the content of all files; undefined while one cannot be read. */
  #fingerprint(warn = (message: string, reason: string) => this.#logOnce(message, reason)): string | undefined {
    const hash = createHash("sha256");
    for (const path of this.#paths) {
      try {
        const content = Deno.readFileSync(path);
        hash.update(`${content.length}:`).update(content);
      } catch (error) {
        if (this.#missingIsEmpty && error instanceof Deno.errors.NotFound) {
          hash.update("gone:");
          continue;
        }
        warn(`${path} cannot be read; the loaded content stays in use`, readFailure(error));
        return undefined;
      }
    }
    this.#lastWarning = "";
    return hash.digest("hex");
  }

  /** Logs a message once, not at every check. */
  #logOnce(message: string, reason: string): void {
    if (this.#lastWarning === message) return;
    this.#lastWarning = message;
    this.#log.warn(message, { reason });
  }
}

function exists(folder: string): boolean {
  try {
    return Deno.statSync(folder).isDirectory;
  } catch {
    return false;
  }
}
