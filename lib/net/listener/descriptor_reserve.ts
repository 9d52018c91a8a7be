/**
 * Spare descriptors, so that there is one left to listen again with when all the others are taken.
 * @module
 */
import type { Ffi } from "../ffi/load_ffi.ts";

/** What is kept. One would do to listen again; the rest lets the connections that wait be accepted and answered. */
export const RESERVE = 16;

/** How many must be free before it is worth listening again. */
export const ROOM = 8;

/** Holds descriptors that nobody needs. */
export class DescriptorReserve {
  readonly #ffi: Ffi | undefined;
  readonly #fds: number[] = [];
  readonly #files: Deno.FsFile[] = [];

  constructor(ffi: Ffi | undefined) {
    this.#ffi = ffi;
  }

  get size(): number {
    return this.#fds.length + this.#files.length;
  }

  /** Takes up to `count` in all; whether it got them. Needs `--allow-read=/dev/null` where there is no libc. */
  fill(count = RESERVE): boolean {
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
        // Not permitted, or no such file (Windows): then there is no reserve, and nothing to wait for.
        return !isExhaustion(error);
      }
    }
    return true;
  }

  /** Gives all of them back to the process. */
  release(): void {
    for (const fd of this.#fds.splice(0)) this.#ffi?.libc.calls.close(fd);
    for (const file of this.#files.splice(0)) file.close();
  }
}

/** Whether an error says that descriptors or memory for sockets ran out: EMFILE, ENFILE, ENOBUFS. */
export function isExhaustion(error: unknown): boolean {
  return /os error (24|23|105)\b|EMFILE|ENFILE|ENOBUFS|Too many open files/i.test(String(error));
}
