/**
 * The watchdog's thread: scans every socket on the service's port, also while the service's event loop is blocked, and
 * aborts connections by the rules of watchdog_rules.ts. Started by watchdog.ts.
 * @module
 */
import { ABORT_REASONS, type AbortReason, ConnectionTable, Header, State } from "./connection_table.ts";
import { loadLibc } from "../ffi/libc.ts";
import { Sockets } from "../ffi/sockets.ts";
import { connectionsToClose, type IdleConnection, requiredFreeDescriptors } from "./descriptor_shortage.ts";
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

/** Milliseconds between two readings of the heartbeat: normally, under high traffic, and while the event loop is blocked. */
const TICK = 100;
const BUSY_TICK = 25;
const STALL_TICK = 5;
/** The same while descriptors run short, because closed clients may already have reconnected. */
const SHORT_TICK = 10;
/**
 * Milliseconds without a heartbeat after which the event loop counts as blocked, and the scans look for floods. The
 * heartbeat comes every 100 ms. A single message of 64 MiB may also block the loop for some time.
 */
const STALL_AFTER = 300;
/**
 * Milliseconds of CPU that the process must have used since the last heartbeat before a peer counts as a flooder. On a busy
 * machine the loop also stands still because it gets no CPU, and then every peer that sends a burst would look like one.
 */
const STALL_CPU = 100;
/**
 * The number of scans, while the loop is blocked, in which Deno reads from a peer before the peer counts as a flooder. Deno
 * reads the sent part of a single message in a few milliseconds. Deno reads from one flooder after the other, so once
 * `MANY_FLOODERS` were found during one blockage, one scan is enough for the others.
 */
const FLOOD_SCANS = 3;
const MANY_FLOODERS = 3;
/** The minimum pause between scans, in milliseconds. */
const SCAN_PAUSE = 250;
/** If all peers together sent more bytes than this since the last scan, the next one follows soon: unfinished messages may grow fast. */
const BUSY_BYTES = 8 * 1024 ** 2;
/**
 * A scan is followed by a pause of this many times its CPU time. Each of the two kinds of scan thus takes at most 0.4 % of
 * a core. A quick scan covers the connections that are not WebSockets yet. A full scan covers all connections, and takes
 * 20 ms for 10,000. `BUSY_PAUSE_FACTOR` applies to full scans under high traffic or while the loop is blocked: 5 %.
 */
const PAUSE_FACTOR = 250;
const BUSY_PAUSE_FACTOR = 20;
/** The maximum time between two counts of the descriptors, in milliseconds. */
const COUNT_PAUSE = 1_000;
/** A scan also covers this many descriptors above the highest one of the last count: connections since then may have them. */
const MARGIN = 64;
/** The maximum milliseconds by which the clock of the timeouts advances per tick: suspending the machine must not end connections. */
const MAX_CLOCK_STEP = 1_000;

const scope = self as unknown as {
  postMessage(report: ScannerReport): void;
  onmessage: ((event: MessageEvent<ScannerTask>) => void) | null;
  close(): void;
};

/** Scans the sockets of one table. */
class Scanner {
  readonly #sockets: Sockets;
  readonly #table: ConnectionTable;
  readonly #port: number;
  readonly #limits: WatchdogLimits;
  /** The tracked sockets, by descriptor. */
  readonly #tracked: (TrackedSocket | undefined)[] = [];
  /** The cookies of sockets on other ports, by descriptor. */
  readonly #otherSockets: number[] = [];
  /** The cookies, by descriptor, of the sockets that were aborted because descriptors ran short and that Deno has not closed yet. */
  readonly #closing = new Map<number, number>();
  /**
   * One more than the highest descriptor that was open at a count or that a scan found to be a connection. Any number of
   * the descriptors below it may be of another kind: WebSockets of another listener, or an app's files.
   */
  #end = 0;
  /** When the next full scan is due under high traffic or while the loop is blocked. */
  #busyFullScanAt = -Infinity;

  /** Bytes that the peers had sent by the last full scan, and whether they sent more than `BUSY_BYTES` since the one before. */
  #received = 0;
  #busy = false;
  /** Flooders that were aborted during the current blockage, and the number of scans after which the next one is aborted. */
  #flooders = 0;
  #floodScans = FLOOD_SCANS;

  /** Reused for every sample, to spare the garbage collector. */
  readonly #sample = {
    fd: 0,
    state: 0,
    requestCount: 0,
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
   * Runs until `Header.stop` is set. The thread sleeps in `Atomics.wait`, so that a stop takes effect at once. Also, the
   * first timer of a thread makes Deno load `node:timers`, which takes 8 ms and 3 MB (measured).
   */
  run(): void {
    const { header } = this.#table;
    let beat = -1;
    let beatAt = 0;
    let cpuAtBeat = 0;
    let clock = 0;
    let lastTick = performance.now();
    let quickScanAt = -Infinity;
    let fullScanAt = -Infinity;
    let wait = TICK;
    let countAt = -Infinity;
    let closed = false;
    while (Atomics.wait(header, Header.stop, 0, wait) === "timed-out") {
      const now = performance.now();
      const seen = Atomics.load(header, Header.beat);
      if (seen !== beat) [beat, beatAt, cpuAtBeat] = [seen, now, this.#sockets.otherThreadsCpu()];
      const stalled = now - beatAt > STALL_AFTER;
      // While the loop is blocked the service cannot accept requests, so the clock of the timeouts stops.
      if (!stalled) clock += Math.min(now - lastTick, MAX_CLOCK_STEP);
      lastTick = now;
      if (now >= countAt) {
        closed = this.#freeDescriptors(clock);
        const after = performance.now();
        countAt = closed ? after : after + Math.min((after - now) * PAUSE_FACTOR, COUNT_PAUSE);
      }
      const hurried = stalled || this.#busy;
      wait = stalled ? STALL_TICK : closed ? SHORT_TICK : hurried ? BUSY_TICK : TICK;
      const full = now >= (hurried ? Math.min(fullScanAt, this.#busyFullScanAt) : fullScanAt);
      if (!full && now < quickScanAt) continue;
      const cpuBefore = this.#sockets.threadCpu();
      this.#scan(clock, full, stalled && this.#sockets.otherThreadsCpu() - cpuAtBeat > STALL_CPU);
      const after = performance.now();
      const used = this.#sockets.threadCpu() - cpuBefore;
      const next = after + Math.max(SCAN_PAUSE, used * PAUSE_FACTOR);
      if (full) [fullScanAt, this.#busyFullScanAt] = [next, after + used * BUSY_PAUSE_FACTOR];
      else quickScanAt = next;
      Atomics.add(header, Header.scans, 1);
      if (full) Atomics.add(header, Header.fullScans, 1);
      Atomics.add(header, Header.scanMicroseconds, Math.round((after - now) * 1000));
    }
  }

  /**
   * Takes one sample of each connection, and aborts those that violate a rule.
   * @param full whether the scan includes the WebSockets
   * @param stalled whether the event loop is blocked by its own work
   */
  #scan(clock: number, full: boolean, stalled: boolean): void {
    const table = this.#table;
    const unfinished: number[] = [];
    let unfinishedBytes = 0;
    let all = 0;
    for (let fd = 0; fd < this.#end + MARGIN && fd < table.rows; fd++) {
      const skip = !full && table.state[fd] === State.open;
      const tracked = skip ? undefined : this.#identify(fd, clock);
      if (skip || tracked !== undefined) this.#end = Math.max(this.#end, fd + 1);
      if (tracked === undefined) continue;
      const info = this.#sockets.info(fd);
      if (info === undefined) continue;
      const received = info.bytesReceived;
      all += received;
      const sample = this.#sample;
      sample.fd = fd;
      sample.state = table.cookie[fd] === tracked.cookie ? table.state[fd]! : State.none;
      sample.requestCount = table.requestCount[fd]!;
      sample.delivered = table.delivered[fd]!;
      sample.read = table.read[fd]!;
      sample.deliveredSince = (sample.delivered - table.deliveredAtRead[fd]!) >>> 0;
      sample.received = received;
      sample.sent = info.bytesAcknowledged;
      const reason = tracked.evaluate(sample, clock, this.#limits);
      if (reason !== undefined) this.#abort(fd, tracked, reason);
      else if (full && stalled) {
        const unread = this.#sockets.unread(fd);
        if (tracked.recordStalledRead(received - unread, unread) >= this.#floodScans) {
          this.#abort(fd, tracked, "flood");
          if (++this.#flooders >= MANY_FLOODERS) this.#floodScans = 1;
        }
      } else if (full) tracked.resetFloodCount();
      if (full) table.unfinished[fd] = tracked.unfinished > 0 ? 1 : 0;
      if (reason === undefined && tracked.unfinished > 0) {
        unfinished.push(fd);
        unfinishedBytes += tracked.unfinished;
      }
    }
    if (!full) return;
    Atomics.store(table.header, Header.unfinished, unfinished.length);
    if (!stalled) [this.#flooders, this.#floodScans] = [0, FLOOD_SCANS];
    this.#busy = all - this.#received > BUSY_BYTES;
    this.#received = all;
    if (unfinishedBytes > this.#limits.unfinishedBudget) this.#abortLargest(unfinished, unfinishedBytes);
  }

  /** Aborts the connections with the largest unfinished messages, until the others are within the budget. */
  #abortLargest(descriptors: number[], bytes: number): void {
    const of = (fd: number) => this.#tracked[fd]?.unfinished ?? 0;
    descriptors.sort((one, other) => of(other) - of(one));
    for (const fd of descriptors) {
      if (bytes <= this.#limits.unfinishedBudget) return;
      bytes -= of(fd);
      this.#abort(fd, this.#tracked[fd]!, "memory");
    }
  }

  /** Counts the descriptors, and aborts idle connections if they run short. Returns whether it aborted any. */
  #freeDescriptors(clock: number): boolean {
    const limit = this.#sockets.descriptorLimit();
    for (const [fd, cookie] of this.#closing) if (this.#sockets.cookie(fd) !== cookie) this.#closing.delete(fd);
    const open = this.#sockets.openCount();
    this.#end = Math.min(Math.max(this.#end, this.#sockets.highest + 1), this.#table.rows);
    const free = limit - open + this.#closing.size;
    if (free >= requiredFreeDescriptors(limit)) return false;
    // Connections and requests since the last scan are recorded first.
    this.#scan(clock, false, false);
    const table = this.#table;
    const idle: IdleConnection[] = [];
    for (let fd = 0; fd < this.#end; fd++) {
      const tracked = this.#tracked[fd];
      if (tracked === undefined || this.#closing.has(fd)) continue;
      const state = table.cookie[fd] === tracked.cookie ? table.state[fd]! : State.none;
      if (state < State.upgrading) idle.push({ fd, state, since: tracked.since });
    }
    const closing = connectionsToClose(idle, free, limit, clock);
    for (const { fd } of closing) {
      const tracked = this.#tracked[fd]!;
      this.#abort(fd, tracked, "descriptors");
      this.#closing.set(fd, tracked.cookie);
    }
    if (closing.length > 0) scope.postMessage({ kind: "short", closed: closing.length, open, limit });
    return closing.length > 0;
  }

  /** Returns the record of the socket on a descriptor. Undefined if it is not a connection to the service's port. */
  #identify(fd: number, clock: number): TrackedSocket | undefined {
    const table = this.#table;
    const known = this.#tracked[fd];
    // The service updates the table when one of these ends.
    if (known !== undefined && table.state[fd]! >= State.open && table.cookie[fd] === known.cookie) return known;
    const cookie = this.#sockets.cookie(fd);
    if (known !== undefined && known.cookie === cookie) return known;
    this.#tracked[fd] = undefined;
    if (cookie === 0 || this.#otherSockets[fd] === cookie) return undefined;
    if (this.#sockets.localPort(fd) !== this.#port || this.#sockets.isListening(fd)) {
      this.#otherSockets[fd] = cookie;
      return undefined;
    }
    return this.#tracked[fd] = new TrackedSocket(cookie, clock);
  }

  #abort(fd: number, tracked: TrackedSocket, reason: AbortReason): void {
    const table = this.#table;
    const peer = this.#sockets.peerOf(fd);
    const received = this.#sockets.info(fd)?.bytesReceived ?? 0;
    // Aborting an upgrade between its 101 and its open event would leak it. The service reads the mark before it upgrades.
    Atomics.store(table.abortMark, fd, ConnectionTable.mark(tracked.cookie));
    const upgrading = Atomics.load(table.state, fd) === State.upgrading && table.cookie[fd] === tracked.cookie;
    if (upgrading && reason !== "upgrade") return void Atomics.store(table.abortMark, fd, 0);
    table.reason[fd] = ABORT_REASONS.indexOf(reason);
    if (!this.#sockets.abort(fd, tracked.cookie)) return;
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
