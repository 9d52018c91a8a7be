/**
 * Deno features that need entries under `unstable` in the program's deno.json. A project that imports the library may
 * lack them.
 * @module
 */

/** The effects of missing entries on a listener. */
export const MISSING_UNSTABLE_WARNING =
  'Without "unstable": ["net", "no-legacy-abort"] in deno.json new connections are refused for a ' +
  "moment when the certificate is renewed, a hand-over to a new process is impossible, and a client that disconnects " +
  "during the app's upgrade hook is detected only after the hook";

/**
 * Whether `unstable` has `net`. Without it `Deno.serve({ cert, reusePort: true })` ends the process with exit code 70,
 * which cannot be caught. `Deno.listenDatagram` exists only with it.
 */
export function hasUnstableNet(): boolean {
  return "listenDatagram" in Deno;
}

/**
 * Returns the signal that aborts when a client disconnects before it is answered. Reading `request.signal` makes Deno 2.9
 * print a warning unless `unstable` has `no-legacy-abort`. That cannot be detected, so a program without `net` is assumed
 * to lack it too. It gets a signal that never aborts; the watchdog then detects the disconnect right before the upgrade.
 */
export function requestSignal(request: Request): AbortSignal {
  return hasUnstableNet() ? request.signal : new AbortController().signal;
}
