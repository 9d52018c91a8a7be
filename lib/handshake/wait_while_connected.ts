/**
 * Waits for a promise while the client stays connected, with a timeout.
 * @module
 */

/** The result of a wait. */
export type Waited<T> =
  | { readonly kind: "done"; readonly value: T }
  | { readonly kind: "failed"; readonly error: unknown }
  /** The client has disconnected. */
  | { readonly kind: "disconnected" }
  /** The timeout has passed. */
  | { readonly kind: "late" };

/**
 * Waits until the promise settles, the client disconnects, or the timeout passes. Never rejects. If the promise settles
 * later, its result is discarded.
 * @param signal the request's signal. Read it from the request before any await; otherwise Deno does not abort it
 * @param timeout in milliseconds
 */
export function waitWhileConnected<T>(promise: Promise<T>, signal: AbortSignal, timeout: number): Promise<Waited<T>> {
  const { promise: waited, resolve } = Promise.withResolvers<Waited<T>>();
  const onAbort = () => end({ kind: "disconnected" });
  const timer = setTimeout(() => end({ kind: "late" }), timeout);
  function end(outcome: Waited<T>): void {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    resolve(outcome);
  }
  signal.addEventListener("abort", onAbort);
  if (signal.aborted) onAbort();
  promise.then((value) => end({ kind: "done", value }), (error) => end({ kind: "failed", error }));
  return waited;
}
