/**
 * A bound on how long a probe may take, whatever the server does.
 * @module
 */

/** The time given to a piece of work was over. */
export class DeadlineError extends Error {
  override readonly name = "DeadlineError";
}

/** How long work may clean up once its time is over, in milliseconds. */
const GRACE = 500;

/**
 * Runs work with a signal that aborts after `ms` milliseconds or with the outer signal. Work that then ends in time,
 * having closed what it opened, decides the outcome; work that ignores its signal is not waited for.
 * @throws {DeadlineError} when the time was over first
 */
export async function within<T>(
  ms: number,
  outer: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>,
  grace: number = GRACE,
): Promise<T> {
  const controller = new AbortController();
  const ignored = Promise.withResolvers<never>();
  ignored.promise.catch(() => {});
  let timer = setTimeout(stop, ms);
  function stop() {
    clearTimeout(timer);
    const over = new DeadlineError(`no result within ${ms} ms`);
    controller.abort(over);
    timer = setTimeout(() => ignored.reject(over), grace);
  }
  if (outer.aborted) stop();
  outer.addEventListener("abort", stop);
  try {
    return await Promise.race([work(controller.signal), ignored.promise]);
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
