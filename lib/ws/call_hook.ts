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

/** The app and the service's log and counters, to which failures are reported. */
export interface HookReport {
  readonly app: App;
  readonly log: Logger;
  readonly counters: ServiceCounters;
}

/** An error of a hook, or of reading a Blob that the app sent. */
export interface PeerFailure {
  readonly source: HookName | "blob";
  readonly peer: Peer;
  /** Whether the failure closes the peer. It does not if the peer is already closing or has ended. */
  readonly closes: boolean;
  readonly error: unknown;
}

/** Logs and counts a failure and passes it to the app's `error` hook. An error of that hook is only logged and counted. */
export function reportFailure({ app, log, counters }: HookReport, { source, peer, closes, error }: PeerFailure): void {
  const hook = source === "blob" ? undefined : source;
  if (hook !== undefined) counters.hookErrors[hook]++;
  const what = hook === undefined ? "a Blob could not be read" : "a hook of the app threw";
  const failure = asError(error);
  log.error(closes ? `${what}; its peer is closed with 1011` : what, {
    hook,
    peer: peer.id,
    error: stackOf(failure),
  });
  callHook(
    () => app.error?.(peer, failure),
    (hookError) => {
      counters.hookErrors.error++;
      log.error("the app's error hook threw", { peer: peer.id, error: messageOf(hookError) });
    },
  );
}
