/**
 * Waits for a server that may stay silent, and distinguishes its silence from the end of the check's timeout.
 * @module
 */
import { DeadlineError, within } from "../../client/deadline.ts";

/**
 * The least silence that counts as a server's fault, in milliseconds: a lost SYN is sent again after a second.
 */
export const MIN_SILENCE = 900;

/**
 * Runs work for at most `ms` milliseconds. After that, returns the result of `onSilence`.
 * @throws {DeadlineError} if the outer signal aborts before `MIN_SILENCE`, which is too early to report silence
 */
export async function awaitReply<T>(
  ms: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  onSilence: (waited: number) => T,
): Promise<T> {
  const start = performance.now();
  try {
    return await within(ms, outer, work);
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    const waited = performance.now() - start;
    if (outer.aborted && waited < MIN_SILENCE) throw error;
    return onSilence(waited);
  }
}

/** Formats a duration for a sentence: `3.2 s`, `80 ms`. */
export function formatWait(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
