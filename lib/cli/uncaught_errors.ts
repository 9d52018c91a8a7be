/**
 * Handles uncaught errors of the process, for the command `serve`. An error in a hook ends only its connection, and an
 * error in a request ends only that request. Any other uncaught error, for example in a promise that an app does not
 * await, or in a timer of an app, would end the process and all connections.
 * @module
 */
import { messageOf, stackOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { throttled } from "../log_throttle.ts";

/**
 * Logs uncaught errors instead of ending the process. Each is logged with its stack and the number of errors so far;
 * repeated messages are throttled. Disposing the result restores the default behaviour of Deno.
 */
export function handleUncaughtErrors(log: Logger): Disposable {
  const errors = throttled(log, { by: "cause" });
  let count = 0;

  function report(event: Event, thrown: unknown): void {
    event.preventDefault();
    errors.error("uncaught error; the service continues", {
      cause: messageOf(thrown),
      count: ++count,
      error: stackOf(thrown),
    });
  }
  const onRejection = (event: PromiseRejectionEvent) => report(event, event.reason);
  const onError = (event: ErrorEvent) => report(event, event.error ?? event.message);

  globalThis.addEventListener("unhandledrejection", onRejection);
  globalThis.addEventListener("error", onError);
  return {
    [Symbol.dispose]() {
      globalThis.removeEventListener("unhandledrejection", onRejection);
      globalThis.removeEventListener("error", onError);
      errors[Symbol.dispose]();
    },
  };
}
