/**
 * Calls an app's hooks and catches their errors, so that an error affects only its peer. An uncaught exception or rejection
 * in a WebSocket event ends a Deno process.
 * @module
 */
import { asError, messageOf, stackOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { App, Awaitable, Peer } from "./app_types.ts";
import type { HookName, ServiceCounters } from "./service_counters.ts";

/** Calls a hook. Passes an exception or a rejection to `fail`. */
export function callHook(hook: () => Awaitable<void>, fail: (error: unknown) => void): void {
  try {
    watchHook(hook(), fail);
  } catch (error) {
    fail(error);
  }
}

/**
 * Passes the rejection of a hook's result to `fail`, if the result is a promise or another thenable. Must be called inside
 * a `try`, because the `then` of a thenable may throw.
 */
export function watchHook(result: unknown, fail: (error: unknown) => void): void {
  if (result === null || (typeof result !== "object" && typeof result !== "function")) return;
  Promise.resolve(result).then(undefined, fail);
}

/** The app and the service's log and counters, to which a failure is reported. */
export interface HookReport {
  readonly app: App;
  readonly log: Logger;
  readonly counters: ServiceCounters;
}

/** Logs and counts an error of a hook and passes it to the app's `error` hook. An error of that hook is only logged and counted. */
export function reportHookFailure(to: HookReport, hook: HookName, peer: Peer, thrown: unknown): void {
  const { app, log, counters } = to;
  counters.hookErrors[hook]++;
  const error = asError(thrown);
  log.error("a hook of the app threw; its peer is closed with 1011", {
    peer: peer.id,
    error: stackOf(error),
  });
  callHook(
    () => app.error?.(peer, error),
    (hookError) => {
      counters.hookErrors.error++;
      log.error("the app's error hook threw", { peer: peer.id, error: messageOf(hookError) });
    },
  );
}
