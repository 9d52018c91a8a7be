/**
 * Calling an app's hooks so that what they throw stays with their peer: an exception or rejection that nobody catches
 * in a WebSocket event ends a Deno process.
 * @module
 */
import { asError, messageOf, stackOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { App, Awaitable, Peer } from "./app_types.ts";
import type { HookName, ServiceCounters } from "./service_counters.ts";

/** Calls a hook; a throw or a rejection goes to `fail`. */
export function callHook(hook: () => Awaitable<void>, fail: (error: unknown) => void): void {
  try {
    watchHook(hook(), fail);
  } catch (error) {
    fail(error);
  }
}

/**
 * A hook's result: nothing, or a promise whose rejection goes to `fail`. A thenable counts as one, and its `then` may
 * throw: call it inside a `try`.
 */
export function watchHook(result: unknown, fail: (error: unknown) => void): void {
  if (result === null || (typeof result !== "object" && typeof result !== "function")) return;
  Promise.resolve(result).then(undefined, fail);
}

/** Where a failure is reported to. */
export interface HookReport {
  readonly app: App;
  readonly log: Logger;
  readonly counters: ServiceCounters;
}

/** Logs and counts what a hook threw and tells the app's `error` hook, whose own failure goes no further. */
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
    (again) => {
      counters.hookErrors.error++;
      log.error("the app's error hook threw", { peer: peer.id, error: messageOf(again) });
    },
  );
}
