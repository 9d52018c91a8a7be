/**
 * What the service tells its watchdog of one connection, and asks of it.
 * @module
 */
import type { DescriptorFinder } from "./descriptor_finder.ts";
import { ABORT_REASONS, type AbortReason, ConnectionTable, State } from "./connection_table.ts";
import { LINUX } from "../ffi/libc.ts";
import { assemble, type Program, type Sockets, TCP_ESTABLISHED } from "../ffi/sockets.ts";

/** What all connections of a watchdog have in common. */
export interface WatchdogContext {
  readonly table: ConnectionTable;
  readonly finder: DescriptorFinder;
  readonly sockets: Sockets;
  readonly solSocket: number;
  readonly noLeaving: Program;
  /** Upgrades that were not begun because the client had gone. */
  gone: number;
}

/** Seconds of silence after which a client that may have left is asked. */
const PROBE_AFTER = 1;
const IPPROTO_TCP = 6;
/** What a client's frame takes besides its payload: header and mask (RFC 6455 section 5.2), and a TLS record of its own. */
const FRAME = 14 + 29;
/**
 * How far deliveries may go on before it is measured again how much was read: bytes, a message counting as so many more.
 * Each measurement takes two system calls, 1.5 µs.
 */
const MEASURE_AFTER = 256 * 1024;
const MESSAGE = 2 * 1024;
/**
 * Classic BPF that drops a segment with FIN or RST set (`ldb [13]; jset #5`); the kernel starts it at TCP's header.
 * A client that leaves between a handler's decision and the 101 makes Deno 2.9 forget the connection without letting go
 * of it: descriptor, TLS state and buffers, for good, and no event fires. For this moment its leaving is held back.
 */
const NO_LEAVING = [[0x30, 0, 0, 13], [0x45, 0, 1, 0x05], [0x06, 0, 0, 0], [0x06, 0, 0, 0xffffffff]] as const;

/** Makes a context; needs the C library. */
export function createWatchdogContext(parts: Omit<WatchdogContext, "noLeaving" | "gone">): WatchdogContext {
  return { ...parts, noLeaving: assemble(NO_LEAVING), gone: 0 };
}

/** One request, and the WebSocket that it may become. Every method may be called late or twice without harm. */
export class WatchedConnection {
  readonly #context: WatchdogContext;
  readonly #cookie: number;
  readonly #delivered: Uint32Array;
  /** The descriptor; the row after the last where there is none, so that the hot path need not ask. */
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
    if (table.cookie[fd] !== this.#cookie) table.read[fd] = 0;
    table.cookie[fd] = this.#cookie;
    Atomics.store(table.state, fd, body ? State.body : State.request);
    table.turn[fd]!++;
  }

  /**
   * Right before `Deno.upgradeWebSocket`, with no refusal and no await to follow. False: the client has gone; do not
   * upgrade, for Deno would never let go of it, but answer anything. From here until `opened()` its leaving is held back.
   */
  upgrading(): boolean {
    const { table, sockets, finder } = this.#context;
    const row = this.#row;
    if (this.#lives() && sockets.cookie(row) === this.#cookie) {
      this.#drops = sockets.drops(row);
      sockets.attachProgram(row, LINUX.SO_ATTACH_FILTER, this.#context.noLeaving);
      Atomics.store(table.state, row, State.upgrading);
      const abortMark = Atomics.load(table.abortMark, row) === ConnectionTable.mark(this.#cookie);
      if (!abortMark && sockets.info(row)?.state === TCP_ESTABLISHED) {
        finder.own(row);
        return true;
      }
      this.#release();
      Atomics.store(table.state, row, State.request);
    }
    this.#context.gone++;
    return false;
  }

  /** In `onopen`. */
  opened(): void {
    if (!this.#lives()) return;
    this.#release();
    this.#measure();
    Atomics.store(this.#context.table.state, this.#row, State.open);
    // It may have left meanwhile: a FIN comes again by itself, but a reset does not. Segments are dropped for other causes
    // too, so ask it: who has left answers the probe with a reset.
    const { sockets, solSocket } = this.#context;
    if (sockets.drops(this.#row) === this.#drops) return;
    sockets.setOption(this.#row, IPPROTO_TCP, LINUX.TCP_KEEPIDLE, PROBE_AFTER);
    sockets.setOption(this.#row, solSocket, LINUX.SO_KEEPALIVE, 1);
  }

  /** For each message that reached the app: its bytes. */
  delivered(bytes: number): void {
    this.#delivered[this.#row]! += bytes + FRAME;
    if ((this.#unmeasured += bytes + MESSAGE) >= MEASURE_AFTER) this.#measure();
  }

  /** A close frame was sent: the peer has the watchdog's `closeTimeout` to answer. */
  closing(): void {
    const { table } = this.#context;
    if (this.#lives() && table.state[this.#row]! >= State.upgrading) {
      Atomics.store(table.state, this.#row, State.closing);
    }
  }

  /** Bytes sent that the peer has taken; undefined where it has gone. */
  acknowledged(): number | undefined {
    return this.#lives() ? this.#context.sockets.info(this.#row)?.bytesAcknowledged : undefined;
  }

  /** Bytes sent that the peer has not acknowledged yet; undefined where it has gone. */
  unacknowledged(): number | undefined {
    return this.#lives() ? this.#context.sockets.unacknowledged(this.#row) : undefined;
  }

  /**
   * Holds segments that are not full back (TCP_CORK, tcp(7)), or lets them go. The kernel itself lets them go after
   * 200 ms. False: the connection has gone.
   */
  cork(on: boolean): boolean {
    return this.#lives() && this.#context.sockets.setOption(this.#row, IPPROTO_TCP, LINUX.TCP_CORK, on ? 1 : 0);
  }

  /** Whether the peer left unanswered what the kernel sent it again; of a connection that ended, the cause. */
  vanished(): boolean {
    const { sockets } = this.#context;
    return this.#lives() && sockets.cookie(this.#row) === this.#cookie &&
      (sockets.info(this.#row)?.unanswered ?? 0) > 0;
  }

  /** Ends the connection at once, without a close frame; the close event follows. False: it has gone already. */
  terminate(): boolean {
    return this.#lives() && this.#context.sockets.abort(this.#row, this.#cookie);
  }

  /** In `onclose`, and when an upgrade threw. Returns why the watchdog ended it, if it did. */
  gone(): AbortReason | undefined {
    if (!this.#lives()) return undefined;
    const { table, finder } = this.#context;
    const row = this.#row;
    if (table.state[row] === State.upgrading) this.#release();
    const abortMark = table.abortMark[row] === ConnectionTable.mark(this.#cookie);
    Atomics.store(table.state, row, State.none);
    table.cookie[row] = 0;
    finder.disown(row);
    this.#row = table.rows;
    return (abortMark && ABORT_REASONS[table.reason[row]!]) || undefined;
  }

  /** Notes how much was read up to here: what comes after it belongs to messages that are not whole. */
  #measure(): void {
    this.#unmeasured = 0;
    if (!this.#lives()) return;
    const { table, sockets } = this.#context;
    const row = this.#row;
    table.read[row] = (sockets.info(row)?.bytesReceived ?? 0) - sockets.unread(row);
    table.deliveredThen[row] = this.#delivered[row]!;
  }

  /** Whether the row still speaks of this connection. */
  #lives(): boolean {
    const { table } = this.#context;
    return this.#row < table.rows && table.cookie[this.#row] === this.#cookie;
  }

  #release(): void {
    const { sockets, solSocket } = this.#context;
    if (sockets.cookie(this.#row) === this.#cookie) sockets.setOption(this.#row, solSocket, LINUX.SO_DETACH_FILTER, 0);
  }
}
