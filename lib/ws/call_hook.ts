/**
 * Calling an app's hooks so that what they throw stays with their peer: an exception or rejection that nobody catches
 * in a WebSocket event ends a Deno process.
 * @module
 */
import { asError, messageOf, stackOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { App, Awaitable, Peer } from "./app_types.ts";

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

/** Logs what a hook threw and tells the app's `error` hook, whose own failure is only logged. */
export function reportHookFailure(app: App, log: Logger, peer: Peer, thrown: unknown): void {
  const error = asError(thrown);
  log.error("a hook of the app threw; its peer is closed with 1011", {
    peer: peer.id,
    error: stackOf(error),
  });
  callHook(
    () => app.error?.(peer, error),
    (again) => log.error("the app's error hook threw", { peer: peer.id, error: messageOf(again) }),
  );
}
