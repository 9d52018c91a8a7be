/**
 * Accepts connections on one address. Opens a new accept loop if `Deno.serve` ends one, replaces the loop for a new
 * certificate without losing a connection, and can stop accepting while open connections stay open.
 * @module
 */
import type { Address } from "../../config/service_mode.ts";
import { StartError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import {
  type AcceptLoop,
  assertPortFree,
  bind,
  clearAddress,
  formatAddress,
  type Handler,
  type TlsText,
} from "./accept_loop.ts";
import type { Instruction } from "./reuseport_group.ts";
import { type Ffi, loadFfi, missingFfiWarning } from "../ffi/load_ffi.ts";
import { MISSING_UNSTABLE_WARNING } from "../../unstable_features.ts";
import { relisten } from "./relisten.ts";
import { DescriptorReserve } from "./descriptor_reserve.ts";
import {
  allConnectionsCounted,
  assertShareable,
  canJoin,
  HANDSHAKE_GRACE,
  queueEmptied,
  share,
  sleep,
  steer,
  steerToNewest,
  waitAtMost,
} from "./replace_accept_loop.ts";
import { isOwnSocket, removeOwnSocket } from "./unix_socket_path.ts";

/** Options of {@link Listener.open}. */
export interface ListenOptions {
  readonly address: Address;
  /** Certificate and key in PEM; without it the listener is plain. */
  readonly tls?: TlsText;
  readonly handler: Handler;
  /** Makes the response if the handler throws. Default: Deno logs the error and answers 500. */
  readonly onError?: (error: unknown) => Response | Promise<Response>;
  readonly log: Logger;
  /** Connections that may wait to be accepted; the kernel limits this (net.core.somaxconn). Default 4096. */
  readonly backlog?: number;
  /**
   * Milliseconds after which the kernel ends a connection whose peer acknowledges none of the data sent
   * (TCP_USER_TIMEOUT, RFC 5482). Default 0: off. Effective only on Linux with the C library.
   */
  readonly userTimeout?: number;
  /**
   * Whether this is a secondary listener of the process. The main listener warns if the C library is missing and keeps
   * the descriptor reserve. Default false.
   */
  readonly additional?: boolean;
  /** Whether to take the address over from a predecessor process, which has called `share()`. */
  readonly takeover?: boolean;
  /**
   * Share the port permanently with listeners of other processes. `open`: the first of them, which fails if the port is
   * in use. `join`: any other. The members of a group replace their sockets together, with `bindNext`, `steer`,
   * `queuesEmptied` and `closeSockets` instead of `replace`. Requires Linux and the C library.
   */
  readonly group?: "open" | "join";
  /** Called when a socket of the group is lost (its accept loop ended unexpectedly), and when it listens again. */
  readonly onGroupChange?: (change: "lost" | "joined") => void;
  /**
   * Called if the old accept loop can end only together with its connections: asks all clients to reconnect, and
   * resolves when the time for that is over. Deno then closes the remaining connections of the old loop with 1001.
   */
  readonly evict?: () => Promise<void>;
}

/** Milliseconds that `close()` waits for Deno: `shutdown()` never resolves if an upgrade leaked. */
const CLOSE_TIMEOUT = 2_000;
/** Milliseconds after which the reserve is filled again. */
const REFILL_AFTER = 1_000;
const BACKLOG = 4_096;

/** Accepts connections on one address until it is stopped. */
export class Listener {
  readonly #options: ListenOptions;
  readonly #ffi: Ffi | undefined;
  readonly #reserve: DescriptorReserve;
  readonly #stopping = new AbortController();
  /** Every loop that may still have connections: Deno ends a connection only through the loop that accepted it. */
  readonly #servers = new Set<AcceptLoop>();
  /** Loops whose end is expected. */
  readonly #retiring = new Set<AcceptLoop>();
  /** Older loops of a group that still listen. */
  readonly #old = new Set<AcceptLoop>();
  /** `closeSockets("all")` was called. */
  #closed = false;
  #address: Address;
  #current!: AcceptLoop;
  #inode: number | null = null;
  #shared = false;
  /** Resolves when the previous loop has ended: one is replaced at a time, because steering supports two sockets. */
  #previousEnded: Promise<void> = Promise.resolve();
  /** Set while nothing listens: the attempts to listen again, and the certificate that they use. */
  #relistening: { readonly done: Promise<void>; tls: TlsText | undefined } | undefined;
  #refill: ReturnType<typeof setTimeout> | undefined;

  private constructor(options: ListenOptions, ffi: Ffi | undefined) {
    this.#options = options;
    this.#ffi = ffi;
    this.#address = options.address;
    this.#reserve = new DescriptorReserve(ffi);
  }

  /**
   * Opens the address. Without the C library, logs one warning about the missing features.
   * @throws {StartError} if the port or socket is in use or not permitted, or the host is not of this machine
   */
  static async open(options: ListenOptions): Promise<Listener> {
    const { ffi, reason } = loadFfi();
    const listener = new Listener(options, ffi);
    const { address, tls, takeover = false, group } = options;
    if (takeover || group !== undefined) assertShareable(tls, group !== undefined, ffi, reason);
    if (takeover) listener.#takeOver();
    else if (group === "join") listener.#bind(address, tls, true);
    else await listener.#open(false);
    if (group === "open") await listener.share();
    if (options.additional) return listener;
    listener.#reserve.fill();
    if (reason !== undefined) options.log.warn(missingFfiWarning(reason, tls !== undefined));
    if (!canJoin(tls)) options.log.info(MISSING_UNSTABLE_WARNING);
    return listener;
  }

  /** The address it listens on, with the actual port if port 0 was requested. */
  get addr(): Deno.Addr {
    const address = this.#address;
    return address.transport === "unix" ? { transport: "unix", path: address.path } : this.#current.server.addr;
  }

  /** Whether accepting can stop while open connections stay open: on a unix socket, and on Linux with the C library. */
  get canStop(): boolean {
    return this.#address.transport === "unix" || this.#loopCanEnd;
  }

  get #loopCanEnd(): boolean {
    return this.#ffi?.libc.linux === true && this.#current.fd !== undefined;
  }

  /**
   * Listens with another certificate, which all new clients see once this resolves. The old loop accepts the
   * connections in its queue and then stops; its WebSockets stay open. If the loop can end only together with its
   * connections, `evict` is awaited first: until then a new client may see either certificate, and connections that
   * arrive while the old loop closes are lost. If nothing listens at the moment, the attempts to listen again use the
   * new certificate. A unix socket has no TLS and does not change.
   * @throws {StartError} if the new loop cannot be opened; the old one is unchanged
   */
  async replace(tls: TlsText | undefined): Promise<void> {
    if (this.#address.transport === "unix") return;
    if (!canJoin(tls)) return await this.#reopen(tls);
    const previousEnded = this.#previousEnded;
    let retired!: () => void;
    this.#previousEnded = new Promise((resolve) => retired = resolve);
    try {
      await previousEnded;
      if (!this.#mustReplace(tls)) return retired();
      const old = this.#current;
      if (this.#loopCanEnd) share(this.#ffi!, old.fd!);
      this.#bind(this.#address, tls, true);
      if (this.#loopCanEnd) steerToNewest(this.#ffi!, this.#current.fd!);
      const retirement = this.#retire(old, true).finally(retired);
      // Until the old loop has ended, the kernel spreads new connections over both.
      if (!this.#loopCanEnd) await retirement;
    } catch (error) {
      retired();
      throw error;
    }
  }

  /** Ends the loop and then opens one with the new certificate. New connections are refused in between. */
  async #reopen(tls: TlsText | undefined): Promise<void> {
    const run = async () => {
      if (!this.#mustReplace(tls)) return;
      const old = this.#current;
      await this.#retire(old, false);
      try {
        this.#bind(this.#address, tls, false);
      } catch (error) {
        this.#bindOrRelisten(old.tls);
        throw error;
      }
    };
    const done = this.#previousEnded.then(run);
    this.#previousEnded = done.catch(() => {});
    await done;
  }

  /** Whether there is a loop to replace. If nothing listens, leaves the certificate to the attempts to listen again. */
  #mustReplace(tls: TlsText | undefined): boolean {
    if (this.#relistening) this.#relistening.tls = tls;
    return this.#relistening === undefined && !this.#stopping.signal.aborted;
  }

  /**
   * Adds a socket with another certificate to the group. The older sockets keep listening until `closeSockets`.
   * @throws {StartError} if the socket cannot be opened, or nothing listens at the moment; the others are unchanged
   */
  bindNext(tls: TlsText | undefined): void {
    if (this.#relistening) throw new StartError("Cannot use the new certificate: the port is not open at the moment");
    const old = this.#current;
    this.#bind(this.#address, tls, true);
    this.#old.add(old);
  }

  /**
   * Chooses which sockets of the group get new connections, for all processes of the group.
   * @param program classic BPF, see `spreadOver`; if undefined, the kernel chooses by hash
   * @throws {StartError} if the kernel refuses the program
   */
  steer(program: readonly Instruction[] | undefined): void {
    steer(this.#ffi!, this.#current.fd!, program);
  }

  /** Resolves when no connection waits on these sockets, which must no longer get new ones. `old`: all but the newest. */
  async queuesEmptied(which: "all" | "old"): Promise<void> {
    await Promise.all(this.#loops(which).map(({ fd }) => queueEmptied(this.#ffi!, fd!, true, this.#stopping.signal)));
  }

  /** Stops listening on all sockets, or on all but the newest. Accepted connections stay open. */
  async closeSockets(which: "all" | "old"): Promise<void> {
    await Promise.all(this.#loops(which).map((loop) => this.#retire(loop, false)));
    this.#old.clear();
    this.#closed ||= which === "all";
  }

  #loops(which: "all" | "old"): AcceptLoop[] {
    return which === "all" && !this.#closed && !this.#relistening ? [...this.#old, this.#current] : [...this.#old];
  }

  /**
   * Undoes `bindNext`: stops listening on the newest socket once no connection waits on it, and continues with the one
   * before it. The newest socket must no longer get new connections.
   */
  async dropNext(): Promise<void> {
    const next = this.#current;
    const previous = [...this.#old].at(-1);
    if (previous === undefined) return;
    this.#old.delete(previous);
    this.#current = previous;
    await this.#retire(next, true);
  }

  /**
   * Lets a successor process of the same user open the address with `takeover`. Call `stopAccepting()` once it has, and
   * do not call `replace` in between. Returns false if that is impossible: on a TCP port without the C library.
   */
  async share(): Promise<boolean> {
    if (this.#loopCanEnd) await this.#previousEnded;
    if (!canJoin(this.#current.tls)) return false;
    this.#shared = this.#address.transport === "unix" || (this.#loopCanEnd && share(this.#ffi!, this.#current.fd!));
    return this.#shared;
  }

  /**
   * Undoes `share()` if the hand-over has failed: listens at the path of a unix socket again if the successor has replaced
   * or removed its file. Open connections stay open. Never throws. A TCP port needs nothing.
   */
  takeBack(): void {
    const address = this.#address;
    // A pending attempt to listen again opens the path, too. It may take as long as the path cannot be used.
    if (address.transport === "tcp" || this.#stopping.signal.aborted || this.#relistening !== undefined) return;
    if (isOwnSocket(address.path, this.#inode)) return;
    // No client can reach the old loop without its path, but its connections still need it.
    this.#retiring.add(this.#current);
    this.#bindOrRelisten(undefined);
  }

  /**
   * Stops accepting. Open connections stay open and may send further requests. Resolves when the queue is empty and the
   * loop has ended; with false if it cannot end without its connections, and the handler should answer 503.
   */
  async stopAccepting(): Promise<boolean> {
    this.#stop();
    await Promise.all([this.#relistening?.done, this.#previousEnded]);
    this.#removeSocketFile();
    // A shutdown of a listening unix socket makes Deno's loop spin on EAGAIN. Without its path no client can connect.
    if (this.#address.transport === "unix" || this.#closed || this.#relistening) return true;
    // With a signal of its own, because the stop must not cut short the wait for handshakes.
    if (this.#loopCanEnd) await this.#retire(this.#current, this.#shared, new AbortController().signal);
    return this.#loopCanEnd;
  }

  /** For use after a hand-over: see `allConnectionsCounted` in replace_accept_loop.ts. */
  allConnectionsCounted(counted: () => number, timeout: number): Promise<void> {
    return allConnectionsCounted(this.#ffi, this.#address, counted, timeout);
  }

  /**
   * Closes all connections, WebSockets with 1001, in about two seconds. Sockets that Deno leaks stay until `Deno.exit`.
   */
  async close(): Promise<void> {
    this.#stop();
    await this.#relistening?.done;
    this.#retiring.add(this.#current);
    const ended = [...this.#servers].map(({ server }) => server.shutdown().catch(() => {}));
    await waitAtMost(Promise.all([...ended, this.#previousEnded]), CLOSE_TIMEOUT);
    this.#servers.clear();
    this.#reserve.release();
    this.#removeSocketFile();
  }

  #stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#refill);
  }

  #removeSocketFile(): void {
    if (this.#address.transport === "unix") removeOwnSocket(this.#address.path, this.#inode);
  }

  /** Opens the first loop, or another after the last one ended. Unless it `joins`, the address must be free. */
  async #open(joins: boolean): Promise<void> {
    const address = this.#address;
    await clearAddress(address);
    // Read after the wait, because `replace` may have been called meanwhile.
    const { tls } = this.#relistening ?? this.#options;
    // Without the C library, the loop of the next certificate can join only a socket that was opened for sharing.
    const sharing = tls !== undefined && this.#ffi?.libc.linux !== true && canJoin(tls);
    if (sharing) assertPortFree(address);
    this.#bind(address, tls, joins || sharing);
  }

  #takeOver(): void {
    this.#bind(this.#options.address, this.#options.tls, true);
    if (!this.#loopCanEnd) return;
    steerToNewest(this.#ffi!, this.#current.fd!);
    // The loop of the predecessor may still exist for this long.
    this.#previousEnded = sleep(2 * HANDSHAKE_GRACE, this.#stopping.signal);
  }

  #bind(address: Address, tls: TlsText | undefined, reusePort: boolean): void {
    const { handler, onError, backlog = BACKLOG, userTimeout = 0 } = this.#options;
    const accepting = bind({ address, tls, reusePort, backlog, userTimeout, handler, onError }, this.#ffi);
    this.#current = accepting;
    this.#relistening = undefined;
    this.#servers.add(accepting);
    this.#inode = accepting.inode;
    if (address.transport === "tcp") this.#address = { ...address, port: (accepting.server.addr as Deno.NetAddr).port };
    const ended = (error: unknown) => this.#onLoopEnded(accepting, error);
    accepting.server.finished.then(() => ended("Deno closed it after an error in a handler"), ended);
  }

  async #retire(old: AcceptLoop, followed: boolean, signal = this.#stopping.signal): Promise<void> {
    this.#retiring.add(old);
    if (old.fd !== undefined && this.#loopCanEnd) {
      await queueEmptied(this.#ffi!, old.fd, followed, signal);
      if (this.#ffi!.sockets.isListening(old.fd)) this.#ffi!.sockets.shutdown(old.fd);
      await old.server.finished.catch(() => {});
      return;
    }
    await this.#options.evict?.();
    await old.server.shutdown().catch(() => {});
    this.#servers.delete(old);
  }

  #onLoopEnded(accepting: AcceptLoop, error: unknown): void {
    if (this.#retiring.has(accepting) || this.#stopping.signal.aborted) return;
    this.#options.onGroupChange?.("lost");
    // It was an older socket of the group: the current one still listens.
    if (!this.#old.delete(accepting)) this.#relisten(error, accepting.tls);
  }

  /** Listens at once if possible, otherwise later. Never throws. */
  #bindOrRelisten(tls: TlsText | undefined): void {
    try {
      this.#bind(this.#address, tls, false);
    } catch (error) {
      this.#relisten(error, tls);
    }
  }

  #relisten(cause: unknown, tls: TlsText | undefined): void {
    const { signal } = this.#stopping;
    const { group, onGroupChange } = this.#options;
    const done = relisten({
      where: formatAddress(this.#address),
      cause,
      open: () => this.#open(group !== undefined),
      reserve: this.#reserve,
      ffi: this.#ffi,
      log: this.#options.log,
      signal,
    }).finally(() => {
      if (signal.aborted) return;
      onGroupChange?.("joined");
      // After a delay, because the free descriptors are for the connections that have been waiting.
      if (!this.#options.additional) this.#refill = setTimeout(() => this.#reserve.fill(), REFILL_AFTER);
    });
    this.#relistening = { done, tls };
  }
}
