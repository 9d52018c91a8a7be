/**
 * What the C library adds to Deno, and what is lost without it.
 * @module
 */
import { type Libc, loadLibc } from "./libc.ts";
import { Sockets } from "./sockets.ts";

/** The C library and the calls on it, where there is one. */
export interface Ffi {
  readonly libc: Libc;
  readonly sockets: Sockets;
}

let ffi: Ffi | undefined;

/** The calls, and a reason where they are missing or not all there. One set a thread. */
export function loadFfi(): { readonly ffi: Ffi | undefined; readonly reason: string | undefined } {
  const { libc, reason } = loadLibc();
  if (libc !== undefined) ffi ??= { libc, sockets: new Sockets(libc) };
  return { ffi, reason: reason ?? (libc?.linux ? undefined : "it is used in full on Linux alone") };
}

/**
 * The soft limit of descriptors of this process, or undefined without the C library. Deno raises it to the hard limit
 * when it starts.
 */
export function descriptorLimit(): number | undefined {
  return loadFfi().ffi?.sockets.descriptorLimit();
}

/** The one warning. */
export function lost(reason: string, tls: boolean): string {
  const direct = tls ? "answers over TLS may stall for 40 ms, a renewed certificate makes everybody reconnect, " : "";
  return `Without the C library (${reason}) ${direct}` +
    "stopping refuses new connections with 503 instead of leaving the port, a hand-over to a new process is " +
    "impossible, and nobody ends connections that never become a request, flood, or never take their data";
}
