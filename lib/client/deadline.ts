/**
 * Time limits for work that a server can delay.
 * @module
 */

/** The error of work that exceeded its time limit. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** Milliseconds for cleaning up after the time limit. */
const GRACE = 500;

/**
 * Runs work with a signal that aborts after `ms` milliseconds or together with the outer signal. The work then has `grace`
 * milliseconds to close what it opened; its result or error within that time still counts. After that it is abandoned.
 * @throws {DeadlineError} if the work is abandoned; the signal's reason is also a DeadlineError
 */
export async function within<T>(
  ms: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  grace: number = GRACE,
): Promise<T> {
  const controller = new AbortController();
  const abandoned = Promise.withResolvers<never>();
  abandoned.promise.catch(() => {});
  let timer = setTimeout(stop, ms);
  function stop() {
    clearTimeout(timer);
    const passed = new DeadlineError(`no result within ${ms} ms`);
    controller.abort(passed);
    timer = setTimeout(() => abandoned.reject(passed), grace);
  }
  if (outer.aborted) stop();
  outer.addEventListener("abort", stop);
  try {
    return await Promise.race([work(controller.signal), abandoned.promise]);
  } finally {
    clearTimeout(timer);
    outer.removeEventListener("abort", stop);
  }
}

/** Waits for a promise. Rejects with the signal's reason if the signal aborts first. */
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
