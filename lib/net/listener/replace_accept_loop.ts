/**
 * Replaces one accept loop by another on the same port without losing a connection. Measured on Linux 6: when a
 * listening socket closes, the connections in its queue are reset. So the new socket must first get all new
 * connections, and the old one must empty its queue.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Address } from "../../config/service_mode.ts";
import { StartError } from "../../errors.ts";
import { hasUnstableNet } from "../../unstable_features.ts";
import type { TlsText } from "./accept_loop.ts";
import type { Ffi } from "../ffi/load_ffi.ts";
import { LINUX } from "../ffi/libc.ts";
import { assemble } from "../ffi/sockets.ts";
import type { Instruction } from "./reuseport_group.ts";

/** Milliseconds for TCP handshakes whose SYN-ACK the old socket sent and whose final ACK is still on its way. */
export const HANDSHAKE_GRACE = 1_000;
/** Milliseconds to wait for a queue to empty. If it does not, its loop has ended. */
const QUEUE_TIMEOUT = 10_000;
/** Milliseconds between two checks of a queue. */
const QUEUE_INTERVAL = 5;
/** Milliseconds between two checks of all descriptors, which cost more. */
const DESCRIPTORS_INTERVAL = 100;
/** BPF_RET | BPF_K */
const RETURN = 0x06;

/** Whether a second loop with this certificate can listen on a port beside the first. */
export function canJoin(tls: TlsText | undefined): boolean {
  return tls === undefined || hasUnstableNet();
}

/**
 * Checks that several processes can listen on one port.
 * @param group whether they share it permanently, and not only during a hand-over
 * @throws {StartError} if something is missing
 */
export function assertShareable(
  tls: TlsText | undefined,
  group: boolean,
  ffi: Ffi | undefined,
  reason = "it is fully supported only on Linux",
): void {
  const fail = (why: string) => new StartError(`Cannot share the port between processes: ${why}`);
  if (group && ffi?.libc.linux !== true) throw fail(`the C library on Linux is required (${reason})`);
  if (!canJoin(tls)) throw fail(`deno.json needs "unstable": ["net"]`);
}

/**
 * Sets SO_REUSEPORT on a listening socket, so that others may bind its port. Not set when the socket is opened, because
 * a second service could then join by accident. Only sockets of the same user may join (socket(7)).
 */
export function share({ sockets, libc }: Ffi, fd: number): boolean {
  const { SOL_SOCKET, SO_REUSEPORT } = libc.constants;
  return libc.linux && sockets.setOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
}

/**
 * Gives all new connections to the second of two sockets on a port. By default the kernel distributes them by hash. The
 * program returns an index in the group. When the first socket has closed, the index is out of range and the kernel
 * uses its hash again, over the one socket that is left.
 */
export function steerToNewest({ sockets }: Ffi, fd: number): boolean {
  return sockets.attachProgram(fd, LINUX.SO_ATTACH_REUSEPORT_CBPF, assemble([[RETURN, 0, 0, 1]]));
}

/**
 * Chooses which sockets of a port get new connections.
 * @param program classic BPF; if undefined, the kernel chooses by hash
 * @throws {StartError} if the kernel refuses the program
 */
export function steer({ sockets, libc }: Ffi, fd: number, program: readonly Instruction[] | undefined): void {
  const done = program === undefined
    ? sockets.setOption(fd, libc.constants.SOL_SOCKET, LINUX.SO_DETACH_REUSEPORT_BPF, 0)
    : sockets.attachProgram(fd, LINUX.SO_ATTACH_REUSEPORT_CBPF, assemble(program));
  // Detaching fails if nothing is attached, which is the requested state.
  if (!done && program !== undefined) {
    throw new StartError("Cannot steer connections: the kernel refused the program");
  }
}

/**
 * Resolves when a listening socket has no connection in its queue.
 * @param handshakes whether to wait for TCP handshakes in progress too; use it if another socket takes new connections
 * @param signal ends the wait for handshakes
 */
export async function queueEmptied(
  { sockets }: Ffi,
  fd: number,
  handshakes: boolean,
  signal: AbortSignal,
): Promise<void> {
  const waiting = () => sockets.info(fd)?.unacknowledged ?? 0;
  const until = performance.now() + QUEUE_TIMEOUT;
  if (handshakes) await sleep(HANDSHAKE_GRACE, signal);
  while (sockets.isListening(fd) && waiting() > 0 && performance.now() < until) {
    await delay(QUEUE_INTERVAL);
  }
}

/**
 * Resolves when `counted` counts every open connection of an address, or when the timeout has passed. Connections that
 * were accepted last may still be in their handshake. Connections on a unix socket have no port by which to find them:
 * they come from a proxy on this machine and get a fixed time.
 */
export async function allConnectionsCounted(
  ffi: Ffi | undefined,
  address: Address,
  counted: () => number,
  timeout: number,
): Promise<void> {
  if (address.transport === "unix") return await delay(Math.min(HANDSHAKE_GRACE, timeout));
  if (ffi === undefined) return;
  const { sockets } = ffi;
  const { port } = address;
  const open = () => sockets.open().filter((fd) => sockets.localPort(fd) === port && !sockets.isListening(fd)).length;
  for (const until = performance.now() + timeout; performance.now() < until && open() > counted();) {
    await delay(DESCRIPTORS_INTERVAL);
  }
}

/** Waits for a promise, but at most this many milliseconds. */
export async function waitAtMost(promise: Promise<unknown>, milliseconds: number): Promise<void> {
  const done = new AbortController();
  await Promise.race([promise.finally(() => done.abort()), sleep(milliseconds, done.signal)]);
}

/** Waits until the time has passed or the signal aborts. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  await delay(milliseconds, { signal }).catch(() => {});
}
