/**
 * Deno features that need entries under `unstable` in the program's deno.json. A project that imports the library may
 * lack them.
 * @module
 */

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
