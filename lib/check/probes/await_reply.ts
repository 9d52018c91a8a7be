/**
 * Waiting for a server that may stay silent, and telling its silence from a check that ran out of time.
 * @module
 */
import { DeadlineError, within } from "../../client/deadline.ts";

/**
 * Shorter silence says nothing about a server, in milliseconds: a lost SYN or ClientHello is sent again after a second.
 */
export const SHORTEST_SILENCE = 900;

/**
 * Runs work for at most `ms` milliseconds. A timeout is `onSilence`'s result.
 * @throws {DeadlineError} if the outer signal ended the work too early to conclude anything from the silence
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
    if (outer.aborted && waited < SHORTEST_SILENCE) throw error;
    return onSilence(waited);
  }
}

/** A duration for a sentence: `3.2 s`, `80 ms`. */
export function seconds(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
