/**
 * What Deno offers only with entries under `unstable` in the program's deno.json, which a project that imports the library
 * may not have.
 * @module
 */

/**
 * Whether `unstable` has `net`: without it `Deno.serve({ cert, reusePort: true })` ends the process with exit code 70,
 * and nothing can catch that. Deno tells by a function that exists only then.
 */
export function hasUnstableNet(): boolean {
  return "listenDatagram" in Deno;
}

/**
 * The signal that aborts when a client leaves before it is answered. Reading it makes Deno 2.9 print a warning unless
 * `unstable` has `no-legacy-abort`, which cannot be asked for: a program without `net` is taken to have none of them.
 * The signal is then one that never aborts, and the watchdog notices before the upgrade that the client has gone.
 */
export function requestSignal(request: Request): AbortSignal {
  return hasUnstableNet() ? request.signal : new AbortController().signal;
}
