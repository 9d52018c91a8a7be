/**
 * Time limits for work that a server can delay.
 * @module
 */

/** The time limit of a piece of work passed. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** How long work may take to clean up after its limit, in milliseconds. */
const GRACE = 500;

/**
 * Runs work with a signal that aborts after `ms` milliseconds or with the outer signal. What the work then returns or
 * throws within `grace` milliseconds, having closed what it opened, is the result; after that it is abandoned.
 * @throws {DeadlineError} when work that ignores its signal is abandoned; the signal's reason is one, too
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
