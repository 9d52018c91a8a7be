/**
 * The life of the accept loop, which `Deno.serve` leaves to chance: it comes back when it dies, gives way to a new one
 * without losing a connection, and stops without ending what is open.
 * @module
 */
import type { Address } from "../../config/service_mode.ts";
import { StartError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import {
  type AcceptLoop,
  bind,
  clearAddress,
  describe,
  type Handler,
  refuseTaken,
  type TlsText,
} from "./accept_loop.ts";
import { LINUX } from "../ffi/libc.ts";
import { assemble } from "../ffi/sockets.ts";
import type { Instruction } from "./reuseport_group.ts";
import { type Ffi, loadFfi, lost } from "../ffi/load_ffi.ts";
import { hasUnstableNet } from "../../unstable_features.ts";
import { relisten } from "./relisten.ts";
import { DescriptorReserve } from "./descriptor_reserve.ts";
import { GRACE, queueEmptied, settled, settleWithin, share, sleep, steerToNewest } from "./replace_accept_loop.ts";
import { moveSocket, removeOwnSocket } from "./unix_socket_path.ts";

/** How to listen. */
export interface ListenOptions {
  readonly address: Address;
  /** PEM; absent: plain. */
  readonly tls?: TlsText;
  readonly handler: Handler;
  /** Answers for a handler that threw. Default: Deno's, which logs it and answers 500. */
  readonly onError?: (error: unknown) => Response | Promise<Response>;
  readonly log: Logger;
  /** Connections that may wait to be accepted; the kernel bounds it (net.core.somaxconn). Default 4096. */
  readonly backlog?: number;
  /**
   * Milliseconds after which the kernel ends a connection whose peer acknowledges nothing of what was sent
   * (TCP_USER_TIMEOUT, RFC 5482). Default 0: off. Only where `canStop`.
   */
  readonly userTimeout?: number;
  /**
   * Beside another listener of the process, which matters more: it says what is lost without the C library, and keeps
   * spare descriptors. Default false.
   */
  readonly additional?: boolean;
  /** A predecessor process has called `share()` and waits for this one. */
  readonly takeover?: boolean;
  /**
   * Share the port with the listeners of other processes for good. `open`: the first of them, which fails where the port
   * is taken. `join`: a further one. Who shares a port replaces its sockets together with the others: with `bindNext`,
   * `steer`, `queuesEmptied` and `closeSockets` in place of `replace`. Linux with the C library.
   */
  readonly group?: "open" | "join";
  /** A socket of the group was lost because the accept loop ended by itself, or is there again. */
  readonly onGroupChange?: (change: "lost" | "joined") => void;
  /**
   * Where an accept loop cannot stop alone: asks everybody to reconnect, and resolves when their time is up. Whoever is
   * still connected through the old loop is then closed with 1001 by Deno.
   */
  readonly evict?: () => Promise<void>;
}

/** Milliseconds that `close()` waits for Deno: with an upgrade that leaked, `shutdown()` never resolves. */
const CLOSE_PATIENCE = 2_000;
/** Milliseconds after which the reserve is filled again. */
const REFILL_AFTER = 1_000;
const BACKLOG = 4_096;
const WITHOUT_UNSTABLE =
  'Without "unstable": ["net", "no-legacy-abort"] in deno.json new connections are refused for a ' +
  "moment when the certificate is renewed, a hand-over to a new process is impossible, and a client that leaves while " +
  "it waits for the app's upgrade hook is noticed only after it";

/** One address, on which connections are accepted until told otherwise. */
export class Listener {
  readonly #options: ListenOptions;
  readonly #ffi: Ffi | undefined;
  readonly #reserve: DescriptorReserve;
  readonly #stopping = new AbortController();
  /** Every loop that may still have connections: Deno ends them only through the loop that they came by. */
  readonly #servers = new Set<AcceptLoop>();
  /** Loops that are to end, whose end is no accident. */
  readonly #retiring = new Set<AcceptLoop>();
  /** Loops of a group before the current one, which still listen. */
  readonly #old = new Set<AcceptLoop>();
  /** `closeSockets("all")` was called. */
  #closed = false;
  #address: Address;
  #current!: AcceptLoop;
  #inode: number | null = null;
  #shared = false;
  /** The retirement of the loop before this one, or of a predecessor's: one at a time, because steering knows two. */
  #turn: Promise<void> = Promise.resolve();
  #relistening: Promise<void> | undefined;
  #refill: ReturnType<typeof setTimeout> | undefined;

  private constructor(options: ListenOptions, ffi: Ffi | undefined) {
    this.#options = options;
    this.#ffi = ffi;
    this.#address = options.address;
    this.#reserve = new DescriptorReserve(ffi);
  }

  /**
   * Opens the address. Where there is no C library to help, one warning says what is lost.
   * @throws {StartError} the port is taken or forbidden, the host is not of this machine, the socket is live.
   */
  static async open(options: ListenOptions): Promise<Listener> {
    const { ffi, reason } = loadFfi();
    const listener = new Listener(options, ffi);
    const { address, tls, takeover = false, group } = options;
    if (group !== undefined && ffi?.libc.linux !== true) {
      const cause = reason ?? "it is used in full on Linux alone";
      throw new StartError(`Cannot share the port between processes: the C library on Linux is required (${cause})`);
    }
    if ((takeover || group !== undefined) && !listener.#canJoin(tls)) {
      throw new StartError(`Cannot share the port between processes: deno.json needs "unstable": ["net"]`);
    }
    if (takeover) listener.#takeOver();
    else if (group === "join") listener.#bind(address, tls, true);
    else await listener.#open(address, tls);
    if (group === "open") await listener.share();
    if (options.additional) return listener;
    listener.#reserve.fill();
    if (reason !== undefined) options.log.warn(lost(reason, tls !== undefined));
    if (!listener.#canJoin(tls)) options.log.info(WITHOUT_UNSTABLE);
    return listener;
  }

  /** Where it listens: the real port where 0 was asked for. */
  get addr(): Deno.Addr {
    const address = this.#address;
    return address.transport === "unix" ? { transport: "unix", path: address.path } : this.#current.server.addr;
  }

  /** Whether accepting can stop while what was accepted lives on: on a unix socket, and on Linux with the C library. */
  get canStop(): boolean {
    return this.#address.transport === "unix" || this.#loopCanEnd;
  }

  get #loopCanEnd(): boolean {
    return this.#ffi?.libc.linux === true && this.#current.fd !== undefined;
  }

  /**
   * Listens with another certificate. New clients see it once this resolves; the old loop takes what waits in its queue
   * and then stops, while its upgraded sockets live on. Where it cannot stop alone, `evict` is awaited first; meanwhile a
   * new client may see either certificate, and what comes in while the old loop is closed is lost.
   * A unix socket, which has no TLS, is left as it is.
   * @throws {StartError} the new loop cannot be opened; the old one is untouched.
   */
  async replace(tls: TlsText | undefined): Promise<void> {
    if (this.#address.transport === "unix") return;
    if (!this.#canJoin(tls)) return await this.#reopen(tls);
    const turn = this.#turn;
    let retired!: () => void;
    this.#turn = new Promise((resolve) => retired = resolve);
    try {
      await turn;
      await this.#relistening;
      if (this.#stopping.signal.aborted) return retired();
      const old = this.#current;
      if (this.#loopCanEnd) share(this.#ffi!, old.fd!);
      this.#retiring.add(old);
      try {
        this.#bind(this.#address, tls, true);
      } catch (error) {
        this.#retiring.delete(old);
        throw error;
      }
      if (this.#loopCanEnd) steerToNewest(this.#ffi!, this.#current.fd!);
      const retirement = this.#retire(old, true).finally(retired);
      // The kernel spreads new connections over both loops until the old one has gone.
      if (!this.#loopCanEnd) await retirement;
    } catch (error) {
      retired();
      throw error;
    }
  }

  /** Whether a second loop can listen on the port beside the first. */
  #canJoin(tls: TlsText | undefined): boolean {
    return tls === undefined || hasUnstableNet();
  }

  /** Ends the loop and opens another with another certificate: for a moment new connections are refused. */
  async #reopen(tls: TlsText | undefined): Promise<void> {
    const run = async () => {
      await this.#relistening;
      if (this.#stopping.signal.aborted) return;
      const old = this.#current;
      await this.#retire(old, false);
      try {
        this.#bind(this.#address, tls, false);
      } catch (error) {
        this.#bind(this.#address, old.tls, false);
        throw error;
      }
    };
    const done = this.#turn.then(run);
    this.#turn = done.catch(() => {});
    await done;
  }

  /**
   * Listens on one more socket of the group, with another certificate. The sockets before it go on until `closeSockets`.
   * @throws {StartError} the socket cannot be opened; the others are untouched.
   */
  bindNext(tls: TlsText | undefined): void {
    const old = this.#current;
    this.#bind(this.#address, tls, true);
    this.#old.add(old);
  }

  /**
   * Chooses which sockets of the group get new connections, for all its processes.
   * @param program classic BPF, see `spreadOver`; undefined: the kernel spreads them by hash
   * @throws {StartError} the kernel refuses the program
   */
  steer(program: readonly Instruction[] | undefined): void {
    const { sockets, libc } = this.#ffi!;
    const done = program === undefined
      ? sockets.setOption(this.#current.fd!, libc.constants.SOL_SOCKET, LINUX.SO_DETACH_REUSEPORT_BPF, 0)
      : sockets.attachProgram(this.#current.fd!, LINUX.SO_ATTACH_REUSEPORT_CBPF, assemble(program));
    // Detaching fails where nothing is attached, which is what was asked for.
    if (!done && program !== undefined) {
      throw new StartError("Cannot steer connections: the kernel refused the program");
    }
  }

  /**
   * Resolves when no connection waits on sockets that get no new ones any more: all, or those before the newest.
   */
  async queuesEmptied(which: "all" | "old"): Promise<void> {
    const { signal } = this.#stopping;
    await Promise.all(this.#loops(which).map(({ fd }) => queueEmptied(this.#ffi!, fd!, true, signal)));
  }

  /** Stops listening on all sockets, or on those before the newest. What they accepted lives on. */
  async closeSockets(which: "all" | "old"): Promise<void> {
    await Promise.all(this.#loops(which).map((loop) => this.#retire(loop, false)));
    this.#old.clear();
    this.#closed ||= which === "all";
  }

  #loops(which: "all" | "old"): AcceptLoop[] {
    return which === "all" && !this.#closed ? [...this.#old, this.#current] : [...this.#old];
  }

  /**
   * Stops listening on the newest socket, which `bindNext` opened and which gets no new connections any more, once nothing
   * waits on it; goes on with the one before it.
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
   * Lets a successor process of the same user open the address with `takeover`. Once it has, call `stopAccepting()`;
   * until then replace nothing. False where that is impossible: a TCP port without the C library.
   */
  async share(): Promise<boolean> {
    if (this.#loopCanEnd) await this.#turn;
    if (!this.#canJoin(this.#current.tls)) return false;
    this.#shared = this.#address.transport === "unix" || (this.#loopCanEnd && share(this.#ffi!, this.#current.fd!));
    return this.#shared;
  }

  /**
   * Accepts nothing new; everything open lives on, and so do requests over open connections. Resolves when the queue
   * was queueEmptied and the loop has ended. False where the loop cannot stop alone: then the handler should answer 503.
   */
  async stopAccepting(): Promise<boolean> {
    this.#stop();
    await Promise.all([this.#relistening, this.#turn]);
    this.#forgetPath();
    // Shutting a listening unix socket down makes Deno's loop spin on EAGAIN; without its path nobody reaches it.
    if (this.#address.transport === "unix") return true;
    if (this.#closed) return true;
    // With a signal of its own: the stop does not cut the wait for handshakes short.
    if (this.#loopCanEnd) await this.#retire(this.#current, this.#shared, new AbortController().signal);
    return this.#loopCanEnd;
  }

  /** After a hand-over: see `settled` in replace_accept_loop.ts. */
  settled(known: () => number, timeout: number): Promise<void> {
    return settled(this.#ffi, this.#address, known, timeout);
  }

  /** Ends everything, upgraded sockets with 1001, in about two seconds; what Deno leaked lives on until `Deno.exit`. */
  async close(): Promise<void> {
    this.#stop();
    await this.#relistening;
    this.#retiring.add(this.#current);
    const ended = [...this.#servers].map(({ server }) => server.shutdown().catch(() => {}));
    await settleWithin(Promise.all([...ended, this.#turn]), CLOSE_PATIENCE);
    this.#servers.clear();
    this.#reserve.release();
    this.#forgetPath();
  }

  #stop(): void {
    this.#stopping.abort();
    clearTimeout(this.#refill);
  }

  #forgetPath(): void {
    if (this.#address.transport === "unix") removeOwnSocket(this.#address.path, this.#inode);
  }

  /** Opens the first loop, or one after the last ended by itself: nobody else may hold the address. */
  async #open(address: Address, tls: TlsText | undefined, joins = false): Promise<void> {
    if (joins) return this.#bind(address, tls, true);
    await clearAddress(address);
    // Without the C library the next certificate's loop can join only one that was opened for sharing.
    const sharing = tls !== undefined && this.#ffi?.libc.linux !== true && this.#canJoin(tls);
    if (sharing) refuseTaken(address);
    this.#bind(address, tls, sharing);
  }

  #takeOver(): void {
    const { address, tls } = this.#options;
    this.#bind(address, tls, true);
    if (!this.#loopCanEnd) return;
    steerToNewest(this.#ffi!, this.#current.fd!);
    // So long a predecessor's loop may still be there.
    this.#turn = sleep(2 * GRACE, this.#stopping.signal);
  }

  #bind(address: Address, tls: TlsText | undefined, reusePort: boolean): void {
    const { handler, onError, backlog = BACKLOG, userTimeout = 0 } = this.#options;
    // Renaming leaves no moment without a socket at the path; and Deno, which removes the path that it bound, even where
    // a successor's socket is by then, does not know this one.
    const place = address.transport === "unix" ? `${address.path}.${Deno.pid}` : undefined;
    const accepting = bind({ address, place, tls, reusePort, backlog, userTimeout, handler, onError }, this.#ffi);
    this.#current = accepting;
    this.#servers.add(accepting);
    if (address.transport === "unix") this.#inode = moveSocket(place!, address.path, address.mode);
    else this.#address = { ...address, port: (accepting.server.addr as Deno.NetAddr).port };
    const ended = (error: unknown) => this.#ended(accepting, error);
    accepting.server.finished.then(() => ended("Deno closed it after a handler's mistake"), ended);
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

  #ended(accepting: AcceptLoop, error: unknown): void {
    if (this.#retiring.has(accepting) || this.#stopping.signal.aborted) return;
    const { signal } = this.#stopping;
    const { group, onGroupChange } = this.#options;
    onGroupChange?.("lost");
    // An older socket of the group: the current one goes on.
    if (this.#old.delete(accepting)) return;
    this.#relistening = relisten({
      where: describe(this.#address),
      cause: error,
      open: () => this.#open(this.#address, accepting.tls, group !== undefined),
      reserve: this.#reserve,
      ffi: this.#ffi,
      log: this.#options.log,
      signal,
    }).finally(() => {
      this.#relistening = undefined;
      if (!signal.aborted) onGroupChange?.("joined");
      // Not at once: the room is for those who have been waiting.
      if (!signal.aborted && !this.#options.additional) {
        this.#refill = setTimeout(() => this.#reserve.fill(), REFILL_AFTER);
      }
    });
  }
}
