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
 * The signal that aborts when a client leaves before it is answered. Reading it makes Deno 2.9 print a warning unless
 * `unstable` has `no-legacy-abort`. That cannot be detected, so a program without `net` is assumed to lack it too: it
 * gets a signal that never aborts, and the watchdog notices before the upgrade that the client has gone.
 */
export function requestSignal(request: Request): AbortSignal {
  return hasUnstableNet() ? request.signal : new AbortController().signal;
}
