/**
 * A bound on how long a probe may take, whatever the server does.
 * @module
 */

/** The time given to a piece of work was over. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/**
 * Runs work with a signal that aborts after `ms` milliseconds or with the outer signal, and does not wait for work that
 * ignores its signal.
 * @throws {DeadlineError} when the time was over first
 */
export async function within<T>(
  ms: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const stop = () => controller.abort(new DeadlineError(`no result within ${ms} ms`));
  const timer = setTimeout(stop, ms);
  if (outer.aborted) stop();
  outer.addEventListener("abort", stop);
  try {
    return await untilAborted(controller.signal, work(controller.signal));
  } finally {
    clearTimeout(timer);
    outer.removeEventListener("abort", stop);
    // Work that lost the race is told to stop as well.
    stop();
  }
}

/** Waits for a promise, or for the signal, which then rejects with its reason. */
export async function untilAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort);
  });
  // The loser of the race must not become an unhandled rejection.
  promise.catch(() => {});
  aborted.catch(() => {});
  try {
    return await Promise.race([aborted, promise]);
  } finally {
    if (onAbort) signal.removeEventListener("abort", onAbort);
  }
}
