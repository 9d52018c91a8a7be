/**
 * The last line of defence of the command line's service. What a hook throws costs its own peer, and what a request
 * does costs that request; what belongs to nobody (a promise that an app let go, a timer of its own, something that
 * Deno rejects with) would end the process and everybody's connection with it.
 * @module
 */
import { messageOf, stackOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { throttled } from "../log_throttle.ts";

/**
 * Survives errors that nobody catches: each is logged with its stack (throttled by its message) and its number. Dispose
 * of it to have the platform's own handling back.
 */
export function surviveUncaughtErrors(log: Logger): Disposable {
  const errors = throttled(log, { by: "cause" });
  let count = 0;

  function report(event: Event, thrown: unknown): void {
    event.preventDefault();
    errors.error("an error was not caught by anybody; the service goes on", {
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
