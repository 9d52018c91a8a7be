/**
 * The watchdog's thread: scans every socket on the service's port, also while the service's event loop is blocked, and
 * aborts connections by the rules of watchdog_rules.ts. Started by watchdog.ts.
 * @module
 */
import { ABORT_REASONS, type AbortReason, ConnectionTable, Header, State } from "./connection_table.ts";
import { loadLibc } from "../ffi/libc.ts";
import { Sockets } from "../ffi/sockets.ts";
import { connectionsToClose, type IdleConnection, shortBelow } from "./descriptor_shortage.ts";
import { TrackedSocket, type WatchdogLimits } from "./watchdog_rules.ts";

/** The arguments of the thread. */
export interface ScannerTask {
  readonly buffer: SharedArrayBuffer;
  readonly port: number;
  readonly limits: WatchdogLimits;
}

/** The reports of the thread. */
export type ScannerReport =
  | { readonly kind: "ready" }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "short"; readonly closed: number; readonly open: number; readonly limit: number }
  | { readonly kind: "ended"; readonly reason: AbortReason; readonly peer: string; readonly received: number };

/** Milliseconds between two readings of the heartbeat: normally, under high traffic, and while the loop is blocked. */
const TICK = 100;
const BUSY_TICK = 25;
const STALL_TICK = 5;
/** The same while descriptors run short, because closed clients may have returned already. */
const SHORT_TICK = 10;
/**
 * Milliseconds without a beat after which the loop counts as standing still, and floods are sought. It beats every 100;
 * an honest message of 64 MiB takes some time, too.
 */
const STALL = 300;
/**
 * In how many scans a peer is read on while the loop stands still before it counts as a flooder: what an honest one has
 * sent of one message is read in a few milliseconds. Flooders are read one after the other; when so many of them were
 * found in one go, one scan is enough for the others.
 */
const FLOOD_SCANS = 3;
const MANY_FLOODERS = 3;
/** Milliseconds between scans at the least. */
const PAUSE = 250;
/** Bytes that all peers sent since the last scan, after which the next one comes soon: unfinished messages grow fast. */
const BUSY_BYTES = 8 * 1024 ** 2;
/**
 * A scan is followed by a pause of so many times its length, so that each of the two kinds takes 0.4 % of a core at the
 * most: one of what is no WebSocket yet, one of everything, which takes 20 ms with 10,000 connections. The second is
 * for times in which much comes in or the loop stands still: 5 %.
 */
const SHARE = 250;
const BUSY_SHARE = 20;
/** Milliseconds between two counts of the descriptors, at the most. */
const COUNT_PAUSE = 1_000;
/** Descriptors in a row that are no sockets, after which there are no more. */
const BEYOND = 256;
/** The most that the clock of deadlines moves between two ticks: a machine that slept is no reason to end anybody. */
const LEAP = 1_000;

const scope = self as unknown as {
  postMessage(report: ScannerReport): void;
  onmessage: ((event: MessageEvent<ScannerTask>) => void) | null;
  close(): void;
};

/** One scan after another over one table. */
class Scanner {
  readonly #sockets: Sockets;
  readonly #table: ConnectionTable;
  readonly #port: number;
  readonly #limits: WatchdogLimits;
  /** By descriptor. */
  readonly #watched: (TrackedSocket | undefined)[] = [];
  /** Cookies of sockets on other ports. */
  readonly #strangers: number[] = [];
  /** The sockets, by descriptor, that were ended for want of descriptors and not let go of yet. */
  readonly #leaving = new Map<number, number>();
  /** One past the highest descriptor that was one of the service's. */
  #bound = 0;
  #fullAt = -Infinity;

  /** Bytes that the peers had sent at the last full scan, and whether much came since the one before. */
  #received = 0;
  #busy = false;
  /** Flooders that were ended while the loop stands still, and how many scans the next one is given. */
  #flooders = 0;
  #floodScans = FLOOD_SCANS;

  /** Reused for every sample, to spare the garbage collector. */
  readonly #sample = {
    fd: 0,
    state: 0,
    turn: 0,
    delivered: 0,
    read: 0,
    deliveredSince: 0,
    received: 0,
    sent: 0,
    unread: () => this.#sockets.unread(this.#sample.fd),
  };

  constructor(sockets: Sockets, task: ScannerTask) {
    this.#sockets = sockets;
    this.#table = new ConnectionTable(task.buffer);
    this.#port = task.port;
    this.#limits = task.limits;
  }

  /**
   * Runs until the table's header says stop. The thread sleeps in `Atomics.wait`: the first timer of a thread makes Deno load
   * `node:timers`, which takes 8 ms and 3 MB (measured), and a stop would wait for the next tick.
   */
  run(): void {
    const { header } = this.#table;
    let beat = -1;
    let beatAt = 0;
    let clock = 0;
    let last = performance.now();
    let quick = -Infinity;
    let whole = -Infinity;
    let wait = TICK;
    let counted = -Infinity;
    let closed = false;
    while (Atomics.wait(header, Header.stop, 0, wait) === "timed-out") {
      const now = performance.now();
      const seen = Atomics.load(header, Header.beat);
      if (seen !== beat) [beat, beatAt] = [seen, now];
      const stalled = now - beatAt > STALL;
      // While the loop is blocked the service cannot accept requests, so the clock of the timeouts stops.
      if (!stalled) clock += Math.min(now - last, LEAP);
      last = now;
      if (now >= counted) {
        closed = this.#makeRoom(clock);
        const after = performance.now();
        counted = closed ? after : after + Math.min((after - now) * SHARE, COUNT_PAUSE);
      }
      const hurry = stalled || this.#busy;
      wait = stalled ? STALL_TICK : closed ? SHORT_TICK : hurry ? BUSY_TICK : TICK;
      const full = now >= (hurry ? Math.min(whole, this.#fullAt) : whole);
      if (!full && now < quick) continue;
      this.#scan(clock, full, stalled);
      const after = performance.now();
      const next = after + Math.max(PAUSE, (after - now) * SHARE);
      if (full) [whole, this.#fullAt] = [next, after + (after - now) * BUSY_SHARE];
      else quick = next;
      Atomics.add(header, Header.scans, 1);
      if (full) Atomics.add(header, Header.fullScans, 1);
      Atomics.add(header, Header.spent, Math.round((after - now) * 1000));
    }
  }

  /**
   * Judges each descriptor once.
   * @param full the WebSockets too
   * @param stalled the loop stands still
   */
  #scan(clock: number, full: boolean, stalled: boolean): void {
    const table = this.#table;
    const unfinished: number[] = [];
    let unfinishedBytes = 0;
    let all = 0;
    for (let fd = 0; fd < this.#bound + BEYOND && fd < table.rows; fd++) {
      const skip = !full && table.state[fd] === State.open;
      const watched = skip ? undefined : this.#identify(fd, clock);
      if (skip || watched !== undefined) this.#bound = Math.max(this.#bound, fd + 1);
      if (watched === undefined) continue;
      const info = this.#sockets.info(fd);
      if (info === undefined) continue;
      const received = info.bytesReceived;
      all += received;
      const sample = this.#sample;
      sample.fd = fd;
      sample.state = table.cookie[fd] === watched.cookie ? table.state[fd]! : State.none;
      sample.turn = table.turn[fd]!;
      sample.delivered = table.delivered[fd]!;
      sample.read = table.read[fd]!;
      sample.deliveredSince = (sample.delivered - table.deliveredThen[fd]!) >>> 0;
      sample.received = received;
      sample.sent = info.bytesAcknowledged;
      const reason = watched.judge(sample, clock, this.#limits);
      if (reason !== undefined) this.#end(fd, watched, reason);
      else if (full && stalled) {
        const unread = this.#sockets.unread(fd);
        if (watched.floods(received - unread, unread) >= this.#floodScans) {
          this.#end(fd, watched, "flood");
          if (++this.#flooders >= MANY_FLOODERS) this.#floodScans = 1;
        }
      } else if (full) watched.calm();
      if (reason === undefined && watched.unfinished > 0) {
        unfinished.push(fd);
        unfinishedBytes += watched.unfinished;
      }
    }
    if (!full) return;
    if (!stalled) [this.#flooders, this.#floodScans] = [0, FLOOD_SCANS];
    this.#busy = all - this.#received > BUSY_BYTES;
    this.#received = all;
    if (unfinishedBytes > this.#limits.unfinishedBudget) this.#endLongest(unfinished, unfinishedBytes);
  }

  /** Ends those with the most of an unfinished message, until the rest keeps the budget. */
  #endLongest(descriptors: number[], bytes: number): void {
    const of = (fd: number) => this.#watched[fd]?.unfinished ?? 0;
    descriptors.sort((one, other) => of(other) - of(one));
    for (const fd of descriptors) {
      if (bytes <= this.#limits.unfinishedBudget) return;
      bytes -= of(fd);
      this.#end(fd, this.#watched[fd]!, "memory");
    }
  }

  /** Ends idle connections while descriptors run short; whether it ended any. */
  #makeRoom(clock: number): boolean {
    const limit = this.#sockets.descriptorLimit();
    for (const [fd, cookie] of this.#leaving) if (this.#sockets.cookie(fd) !== cookie) this.#leaving.delete(fd);
    const open = this.#sockets.openCount();
    const free = limit - open + this.#leaving.size;
    if (free >= shortBelow(limit)) return false;
    // What came in and what happened since the last scan is seen first.
    this.#scan(clock, false, false);
    const table = this.#table;
    const idle: IdleConnection[] = [];
    for (let fd = 0; fd < this.#bound; fd++) {
      const watched = this.#watched[fd];
      if (watched === undefined || this.#leaving.has(fd)) continue;
      const state = table.cookie[fd] === watched.cookie ? table.state[fd]! : State.none;
      if (state < State.upgrading) idle.push({ fd, state, since: watched.since });
    }
    const closing = connectionsToClose(idle, free, limit, clock);
    for (const { fd } of closing) {
      const watched = this.#watched[fd]!;
      this.#end(fd, watched, "descriptors");
      this.#leaving.set(fd, watched.cookie);
    }
    if (closing.length > 0) scope.postMessage({ kind: "short", closed: closing.length, open, limit });
    return closing.length > 0;
  }

  /** The record of the socket on a descriptor, if it came in by the service's port. */
  #identify(fd: number, clock: number): TrackedSocket | undefined {
    const table = this.#table;
    const known = this.#watched[fd];
    // The service says itself when one of these has gone.
    if (known !== undefined && table.state[fd]! >= State.open && table.cookie[fd] === known.cookie) return known;
    const cookie = this.#sockets.cookie(fd);
    if (known !== undefined && known.cookie === cookie) return known;
    this.#watched[fd] = undefined;
    if (cookie === 0 || this.#strangers[fd] === cookie) return undefined;
    if (this.#sockets.localPort(fd) !== this.#port || this.#sockets.isListening(fd)) {
      this.#strangers[fd] = cookie;
      return undefined;
    }
    return this.#watched[fd] = new TrackedSocket(cookie, clock);
  }

  #end(fd: number, watched: TrackedSocket, reason: AbortReason): void {
    const table = this.#table;
    const peer = this.#sockets.peerOf(fd);
    const received = this.#sockets.info(fd)?.bytesReceived ?? 0;
    // An upgrade cut between its 101 and its open event would leak; the service reads the mark before it begins one.
    Atomics.store(table.abortMark, fd, ConnectionTable.mark(watched.cookie));
    const upgrading = Atomics.load(table.state, fd) === State.upgrading && table.cookie[fd] === watched.cookie;
    if (upgrading && reason !== "upgrade") return void Atomics.store(table.abortMark, fd, 0);
    table.reason[fd] = ABORT_REASONS.indexOf(reason);
    if (!this.#sockets.abort(fd, watched.cookie)) return;
    scope.postMessage({ kind: "ended", reason, peer, received });
  }
}

scope.onmessage = ({ data }) => {
  const { libc, reason } = loadLibc();
  if (libc === undefined) return scope.postMessage({ kind: "failed", reason });
  scope.postMessage({ kind: "ready" });
  new Scanner(new Sockets(libc), data).run();
  scope.postMessage({ kind: "stopped" });
  scope.close();
};
