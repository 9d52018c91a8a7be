/**
 * How one accept loop follows another on the same port without losing a connection. Measured on Linux 6: connections
 * that wait in the queue of a listening socket are reset when it goes, so the new one must get all that comes from then
 * on, and the old one must empty its queue.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Address } from "../../config/service_mode.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import { LINUX } from "../ffi/libc.ts";
import { assemble } from "../ffi/sockets.ts";

/** Milliseconds for handshakes that the old socket answered and whose last segment is still under way. */
export const GRACE = 1_000;
/** Milliseconds after which a queue that does not empty is given up: its loop has died. */
const PATIENCE = 10_000;
const LOOK_EVERY = 5;
/** Every descriptor is looked at: not as often. */
const SETTLED_EVERY = 100;
/** BPF_RET | BPF_K */
const RETURN = 0x06;

/**
 * Lets others bind the port of a listening socket, now and not before: a socket opened with SO_REUSEPORT would let a
 * second service in by accident. Only this user's sockets may join (socket(7)).
 */
export function share({ sockets, libc }: Ffi, fd: number): boolean {
  const { SOL_SOCKET, SO_REUSEPORT } = libc.constants;
  return libc.linux && sockets.setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

/**
 * Gives all new connections to the second of two sockets that share a port, where the kernel would spread them by hash.
 * The program answers with an index in the group; when the first has gone the index is out of range, the kernel goes
 * back to its hash, and one socket is left to choose from.
 */
export function steerToNewest({ sockets }: Ffi, fd: number): boolean {
  return sockets.attachProgram(fd, LINUX.SO_ATTACH_REUSEPORT_CBPF, assemble([[RETURN, 0, 0, 1]]));
}

/**
 * Resolves when a listening socket has no connection left in its queue.
 * @param handshakes wait for handshakes under way too: another socket takes the new ones
 * @param signal cuts the wait for those short
 */
export async function queueEmptied(
  { sockets }: Ffi,
  fd: number,
  handshakes: boolean,
  signal: AbortSignal,
): Promise<void> {
  const waiting = () => sockets.info(fd)?.unacknowledged ?? 0;
  const until = performance.now() + PATIENCE;
  if (handshakes) await sleep(GRACE, signal);
  while (sockets.isListening(fd) && waiting() > 0 && performance.now() < until) {
    await delay(LOOK_EVERY);
  }
}

/**
 * Resolves when every connection of an address is one of those that `known` counts, or the time is up: what was accepted
 * last may still be in its handshake. The connections of a unix socket come from a proxy on this machine and have no port
 * to be told by: they get a moment.
 */
export async function settled(
  ffi: Ffi | undefined,
  address: Address,
  known: () => number,
  timeout: number,
): Promise<void> {
  if (address.transport === "unix") return await delay(Math.min(GRACE, timeout));
  if (ffi === undefined) return;
  const { sockets } = ffi;
  const { port } = address;
  const open = () => sockets.open().filter((fd) => sockets.localPort(fd) === port && !sockets.isListening(fd)).length;
  for (const until = performance.now() + timeout; performance.now() < until && open() > known();) {
    await delay(SETTLED_EVERY);
  }
}

/** Waits for a promise, but no longer than this many milliseconds. */
export async function settleWithin(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  const done = new AbortController();
  await Promise.race([promise.finally(() => done.abort()), sleep(milliseconds, done.signal)]);
}

/** Waits, or less when the signal comes. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, { signal }).catch(() => {});
}
