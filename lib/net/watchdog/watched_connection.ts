/**
 * The service's interface to the watchdog, for one connection.
 * @module
 */
import type { DescriptorFinder } from "./descriptor_finder.ts";
import { ABORT_REASONS, type AbortReason, ConnectionTable, State } from "./connection_table.ts";
import { LINUX } from "../ffi/libc.ts";
import { assemble, type Program, type Sockets, TCP_ESTABLISHED } from "../ffi/sockets.ts";

/** The state that all connections of a watchdog share. */
export interface WatchdogContext {
  readonly table: ConnectionTable;
  readonly finder: DescriptorFinder;
  readonly sockets: Sockets;
  readonly solSocket: number;
  readonly dropFinRst: Program;
  /** The number of upgrades that were not started because the client had disconnected. */
  abandonedUpgrades: number;
  /** See `WatchedConnection.onUnfinished`. */
  onUnfinished: (() => void) | undefined;
}

/** Seconds of silence after which a client that may have disconnected is probed. */
const PROBE_AFTER = 1;
const IPPROTO_TCP = 6;
/** Bytes of a client's frame besides its payload: header and mask (RFC 6455, section 5.2), and a separate TLS record. */
const FRAME_OVERHEAD = 14 + 29;
/**
 * Delivered bytes after which the read bytes are measured again. Each message adds `MESSAGE_OVERHEAD` to its bytes. A measurement
 * takes two system calls, 1.5 µs.
 */
const MEASURE_AFTER = 256 * 1024;
const MESSAGE_OVERHEAD = 2 * 1024;
/**
 * A classic BPF program that drops segments with FIN or RST set (`ldb [13]; jset #5`). The kernel starts it at the TCP
 * header. If a client disconnects between a handler's decision and the 101, Deno 2.9 leaks the connection (descriptor, TLS
 * state and buffers) and fires no event. The program hides the disconnect from Deno for that time.
 */
const DROP_FIN_RST = [[0x30, 0, 0, 13], [0x45, 0, 1, 0x05], [0x06, 0, 0, 0], [0x06, 0, 0, 0xffffffff]] as const;

/** Creates a context. Requires the C library. */
export function createWatchdogContext(
  parts: Omit<WatchdogContext, "dropFinRst" | "abandonedUpgrades" | "onUnfinished">,
): WatchdogContext {
  return { ...parts, dropFinRst: assemble(DROP_FIN_RST), abandonedUpgrades: 0, onUnfinished: undefined };
}

/** One request, and the WebSocket that it may become. Every method may be called late or repeatedly. */
export class WatchedConnection {
  readonly #context: WatchdogContext;
  readonly #cookie: number;
  readonly #delivered: Uint32Array;
  /** The descriptor. If it is unknown: the row after the last, so that `delivered` needs no check. */
  #row: number;
  #drops = 0;
  /** See `MEASURE_AFTER`. */
  #unmeasured = 0;

  constructor(context: WatchdogContext, fd: number, body: boolean) {
    const { table, sockets } = context;
    this.#context = context;
    this.#delivered = table.delivered;
    this.#row = fd >= 0 && fd < table.rows ? fd : table.rows;
    this.#cookie = this.#row < table.rows ? sockets.cookie(fd) : 0;
    if (this.#cookie === 0) return;
    if (table.cookie[fd] !== this.#cookie) table.read[fd] = table.unfinished[fd] = 0;
    table.cookie[fd] = this.#cookie;
    Atomics.store(table.state, fd, body ? State.body : State.request);
    table.requestCount[fd]!++;
  }

  /**
   * Must be called right before `Deno.upgradeWebSocket`, with no refusal and no await in between. Until `opened` is called,
   * a disconnect is hidden from Deno.
   * @returns false if the client has disconnected. Do not upgrade then, because Deno would leak the connection; send any
   * other response
   */
  upgrading(): boolean {
    const { table, sockets, finder } = this.#context;
    const row = this.#row;
    if (this.#isCurrent() && sockets.cookie(row) === this.#cookie) {
      this.#drops = sockets.drops(row);
      sockets.attachProgram(row, LINUX.SO_ATTACH_FILTER, this.#context.dropFinRst);
      Atomics.store(table.state, row, State.upgrading);
      const abortMark = Atomics.load(table.abortMark, row) === ConnectionTable.mark(this.#cookie);
      if (!abortMark && sockets.info(row)?.state === TCP_ESTABLISHED) {
        finder.exclude(row);
        return true;
      }
      this.#detachFilter();
      Atomics.store(table.state, row, State.request);
    }
    this.#context.abandonedUpgrades++;
    return false;
  }

  /** Must be called in `onopen`. */
  opened(): void {
    if (!this.#isCurrent()) return;
    this.#detachFilter();
    this.#measure();
    Atomics.store(this.#context.table.state, this.#row, State.open);
    // The client may have disconnected meanwhile. A FIN is repeated, but a reset is not. Segments may also be dropped for
    // other reasons, so a keepalive probe is sent: a disconnected client answers it with a reset.
    const { sockets, solSocket } = this.#context;
    if (sockets.drops(this.#row) === this.#drops) return;
    sockets.setOption(this.#row, IPPROTO_TCP, LINUX.TCP_KEEPIDLE, PROBE_AFTER);
    sockets.setOption(this.#row, solSocket, LINUX.SO_KEEPALIVE, 1);
  }

  /** Must be called with the bytes of each message that reached the app. */
  delivered(bytes: number): void {
    this.#delivered[this.#row]! += bytes + FRAME_OVERHEAD;
    if ((this.#unmeasured += bytes + MESSAGE_OVERHEAD) >= MEASURE_AFTER) this.#measure();
  }

  /** Must be called when a close frame was sent. The peer must answer it within the watchdog's `closeTimeout`. */
  closing(): void {
    const { table } = this.#context;
    if (this.#isCurrent() && table.state[this.#row]! >= State.upgrading) {
      Atomics.store(table.state, this.#row, State.closing);
    }
  }

  /** The sent bytes that the peer has acknowledged. Undefined if the connection has ended. */
  acknowledged(): number | undefined {
    return this.#isCurrent() ? this.#context.sockets.info(this.#row)?.bytesAcknowledged : undefined;
  }

  /** The sent bytes that the peer has not acknowledged. Undefined if the connection has ended. */
  unacknowledged(): number | undefined {
    return this.#isCurrent() ? this.#context.sockets.unacknowledged(this.#row) : undefined;
  }

  /** The bytes that the kernel received from the peer. Undefined if the connection has ended. */
  received(): number | undefined {
    return this.#isCurrent() ? this.#context.sockets.info(this.#row)?.bytesReceived : undefined;
  }

  /** Whether the peer had sent more than 16 KiB of an unfinished message at the watchdog's last scan. */
  hasUnfinishedMessage(): boolean {
    return this.#context.table.unfinished[this.#row] === 1 && this.#isCurrent();
  }

  /** Sets the function that is called every 100 ms while any connection of the watchdog has an unfinished message. */
  onUnfinished(callback: () => void): void {
    this.#context.onUnfinished = callback;
  }

  /**
   * Holds back segments that are not full (TCP_CORK, tcp(7)), or sends them. The kernel sends them after 200 ms.
   * @returns false if the connection has ended
   */
  cork(on: boolean): boolean {
    return this.#isCurrent() && this.#context.sockets.setOption(this.#row, IPPROTO_TCP, LINUX.TCP_CORK, on ? 1 : 0);
  }

  /** Whether the peer does not acknowledge retransmissions. For a connection that ended this is the cause. */
  isPeerUnresponsive(): boolean {
    const { sockets } = this.#context;
    return this.#isCurrent() && sockets.cookie(this.#row) === this.#cookie &&
      (sockets.info(this.#row)?.unanswered ?? 0) > 0;
  }

  /** Aborts the connection without a close frame. The close event follows. Returns false if it has already ended. */
  terminate(): boolean {
    return this.#isCurrent() && this.#context.sockets.abort(this.#row, this.#cookie);
  }

  /** Must be called in `onclose` and when an upgrade threw. Returns the reason if the watchdog aborted the connection. */
  closed(): AbortReason | undefined {
    if (!this.#isCurrent()) return undefined;
    const { table, finder } = this.#context;
    const row = this.#row;
    if (table.state[row] === State.upgrading) this.#detachFilter();
    const abortMark = table.abortMark[row] === ConnectionTable.mark(this.#cookie);
    Atomics.store(table.state, row, State.none);
    table.cookie[row] = 0;
    finder.include(row);
    this.#row = table.rows;
    return (abortMark && ABORT_REASONS[table.reason[row]!]) || undefined;
  }

  /** Records how much was read so far. Later bytes belong to incomplete messages. */
  #measure(): void {
    this.#unmeasured = 0;
    if (!this.#isCurrent()) return;
    const { table, sockets } = this.#context;
    const row = this.#row;
    table.read[row] = (sockets.info(row)?.bytesReceived ?? 0) - sockets.unread(row);
    table.deliveredAtRead[row] = this.#delivered[row]!;
  }

  /** Whether the row still belongs to this connection. */
  #isCurrent(): boolean {
    const { table } = this.#context;
    return this.#row < table.rows && table.cookie[this.#row] === this.#cookie;
  }

  #detachFilter(): void {
    const { sockets, solSocket } = this.#context;
    if (sockets.cookie(this.#row) === this.#cookie) sockets.setOption(this.#row, solSocket, LINUX.SO_DETACH_FILTER, 0);
  }
}
