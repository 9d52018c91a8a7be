/**
 * Reserves file descriptors, so that the service can listen again after all other descriptors are in use.
 * @module
 */
import type { Ffi } from "../ffi/load_ffi.ts";

/**
 * Descriptors in the reserve. One is enough to listen again. The others are for connections that wait to be accepted.
 */
export const RESERVE_SIZE = 16;

/** Descriptors that must be free before listening again. */
export const MIN_FREE = 8;

/** Holds unused descriptors open. */
export class DescriptorReserve {
  readonly #ffi: Ffi | undefined;
  readonly #fds: number[] = [];
  readonly #files: Deno.FsFile[] = [];

  constructor(ffi: Ffi | undefined) {
    this.#ffi = ffi;
    setUpSignals();
  }

  get size(): number {
    return this.#fds.length + this.#files.length;
  }

  /**
   * Fills the reserve up to `count` descriptors. Returns false if the process has no more. Without libc this needs
   * `--allow-read=/dev/null`.
   */
  fill(count = RESERVE_SIZE): boolean {
    while (this.size < count) {
      if (this.#ffi !== undefined) {
        const fd = this.#ffi.libc.calls.dup(2);
        if (fd < 0) return false;
        this.#fds.push(fd);
        continue;
      }
      try {
        this.#files.push(Deno.openSync("/dev/null"));
      } catch (error) {
        // Not permitted, or no such file (Windows): the service then runs without a reserve.
        return !isExhaustion(error);
      }
    }
    return true;
  }

  /** Closes all descriptors of the reserve. */
  release(): void {
    for (const fd of this.#fds.splice(0)) this.#ffi?.libc.calls.close(fd);
    for (const file of this.#files.splice(0)) file.close();
  }
}

/**
 * Makes Deno open the descriptors for its signal handling now. By default it opens them 500 ms after the start of the
 * program, and panics if none is free at that moment (`init` in Deno's ext/signals/lib.rs): a flood of connections right
 * after the start ended the process.
 */
function setUpSignals(): void {
  if (Deno.build.os === "windows") return;
  const ignore = () => {};
  // SIGWINCH is ignored by default.
  Deno.addSignalListener("SIGWINCH", ignore);
  Deno.removeSignalListener("SIGWINCH", ignore);
}

/** Whether an error means that descriptors or socket memory are exhausted: EMFILE, ENFILE, ENOBUFS. */
export function isExhaustion(error: unknown): boolean {
  return /os error (24|23|105)\b|EMFILE|ENFILE|ENOBUFS|Too many open files/i.test(String(error));
}
