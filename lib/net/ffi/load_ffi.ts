/**
 * Access to the C library, and the warning for when it is missing.
 * @module
 */
import { type Libc, loadLibc } from "./libc.ts";
import { Sockets } from "./sockets.ts";

/** The C library and the socket calls on it. */
export interface Ffi {
  readonly libc: Libc;
  readonly sockets: Sockets;
}

let ffi: Ffi | undefined;

/** Returns the C library and its socket calls, one set per thread, and a reason if some or all of them are missing. */
export function loadFfi(): { readonly ffi: Ffi | undefined; readonly reason: string | undefined } {
  const { libc, reason } = loadLibc();
  if (libc !== undefined) ffi ??= { libc, sockets: new Sockets(libc) };
  return { ffi, reason: reason ?? (libc?.linux ? undefined : "it is fully supported only on Linux") };
}

/**
 * The soft limit on file descriptors of this process, or undefined without the C library. Deno raises it to the hard
 * limit when it starts.
 */
export function descriptorLimit(): number | undefined {
  return loadFfi().ffi?.sockets.descriptorLimit();
}

/** The warning about features that are missing without the C library. */
export function missingFfiWarning(reason: string, tls: boolean): string {
  const direct = tls
    ? "answers over TLS may stall for 40 ms, a renewed certificate makes every client reconnect, "
    : "";
  return `Without the C library (${reason}) ${direct}` +
    "a service that stops refuses new connections with 503 instead of leaving the port, a hand-over to a new process is " +
    "impossible, and connections that never send a request, flood the service or never read their data are not ended";
}
