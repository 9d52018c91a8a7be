/**
 * The guard's thread: looks at every socket on the service's port, also while the event loop of the service stands
 * still, and ends those that the rules of verdict.ts name. Started by guard.ts.
 * @module
 */
import { delay } from "@std/async/delay";
import { GuardTable, type Reason, REASONS, State } from "./guard_table.ts";
import { loadLibc } from "./libc.ts";
import { Sockets } from "./sockets.ts";
import { type GuardLimits, Watched } from "./verdict.ts";

/** What the thread is started with. */
export interface GuardTask {
  readonly buffer: SharedArrayBuffer;
  readonly port: number;
  readonly limits: GuardLimits;
}

/** What it reports. */
export type GuardReport =
  | { readonly kind: "ready" }
  | { readonly kind: "stopped" }
  | { readonly kind: "failed"; readonly reason: string }
  | { readonly kind: "ended"; readonly reason: Reason; readonly peer: string; readonly received: number };

/** Milliseconds between looks at the heartbeat. */
const TICK = 50;
/** Milliseconds without a beat after which the loop counts as standing still. It beats every 50. */
const STALL = 250;
/** Milliseconds between scans: at the least, and while the loop stands still. */
const PAUSE = 250;
const STALLED_PAUSE = 100;
/** Milliseconds that the loop stands still before the biggest flooder is sought. */
const FLOOD_AFTER = 400;
/** A scan's share of the time: 1 in 150 leaves room in a budget of 1 %. */
const SHARE = 150;
/** The most that the clock of deadlines moves between two ticks: a machine that slept is no reason to end anybody. */
const LEAP = 1_000;

const scope = self as unknown as {
  postMessage(report: GuardReport): void;
  onmessage: ((event: MessageEvent<GuardTask>) => void) | null;
  close(): void;
};

/** One scan after another over one table. */
class Patrol {
  readonly #sockets: Sockets;
  readonly #table: GuardTable;
  readonly #port: number;
  readonly #limits: GuardLimits;
  /** By descriptor. */
  readonly #watched: (Watched | undefined)[] = [];
  /** Cookies of sockets on other ports. */
  readonly #strangers: number[] = [];

  constructor(sockets: Sockets, task: GuardTask) {
    this.#sockets = sockets;
    this.#table = new GuardTable(task.buffer);
    this.#port = task.port;
    this.#limits = task.limits;
  }

  /** Until the table says stop. */
  async run(): Promise<void> {
    const { header } = this.#table;
    let beat = -1;
    let beatAt = 0;
    let clock = 0;
    let last = performance.now();
    let scanned = -Infinity;
    let pause = PAUSE;
    while (Atomics.load(header, 1) === 0) {
      await delay(TICK);
      const now = performance.now();
      const seen = Atomics.load(header, 0);
      if (seen !== beat) [beat, beatAt] = [seen, now];
      const stalled = now - beatAt > STALL;
      // While the service cannot take a request, nobody can be late with one.
      if (!stalled) clock += Math.min(now - last, LEAP);
      last = now;
      if (now - scanned < (stalled ? Math.min(STALLED_PAUSE, pause) : pause)) continue;
      this.#scan(clock, stalled && now - beatAt > FLOOD_AFTER);
      const after = performance.now();
      pause = Math.max(PAUSE, (after - now) * SHARE);
      scanned = after;
      Atomics.add(header, 3, 1);
      Atomics.add(header, 4, Math.round((after - now) * 1000));
    }
  }

  /** Looks at each open descriptor once. @param frozen the loop stood still since before the last scan */
  #scan(clock: number, frozen: boolean): void {
    const table = this.#table;
    const open = this.#sockets.open(table.header[2]);
    let flooder = -1;
    let most = 0;
    for (const fd of open) {
      if (fd >= table.rows) break;
      const watched = this.#identify(fd, clock);
      const info = watched && this.#sockets.info(fd);
      if (watched === undefined || info === undefined) continue;
      const received = info.bytesReceived;
      const mine = table.cookie[fd] === watched.cookie;
      const reason = watched.judge(
        {
          state: mine ? table.state[fd]! : State.none,
          turn: table.turn[fd]!,
          delivered: table.delivered[fd]!,
          received,
          unread: () => this.#sockets.unread(fd),
          sent: info.bytesAcknowledged,
        },
        clock,
        this.#limits,
      );
      if (reason !== undefined) this.#end(fd, watched, reason);
      else if (frozen) {
        const flood = watched.flood(received - this.#sockets.unread(fd));
        if (flood > most) [flooder, most] = [fd, flood];
      } else watched.calm();
    }
    table.header[2] = (open.at(-1) ?? 0) + 1;
    // One a scan: whoever was only near the flood is then seen to be quiet.
    if (flooder >= 0) this.#end(flooder, this.#watched[flooder]!, "flood");
  }

  /** The record of the socket on a descriptor, if it came in by the service's port. */
  #identify(fd: number, clock: number): Watched | undefined {
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
    return this.#watched[fd] = new Watched(cookie, clock);
  }

  #end(fd: number, watched: Watched, reason: Reason): void {
    const table = this.#table;
    const peer = this.#sockets.peerOf(fd);
    const received = this.#sockets.info(fd)?.bytesReceived ?? 0;
    // An upgrade cut between its 101 and its open event would leak; the service looks here before it begins one.
    Atomics.store(table.doomed, fd, GuardTable.mark(watched.cookie));
    const upgrading = Atomics.load(table.state, fd) === State.upgrading && table.cookie[fd] === watched.cookie;
    if (upgrading && reason !== "upgrade") return void Atomics.store(table.doomed, fd, 0);
    table.reason[fd] = REASONS.indexOf(reason);
    if (!this.#sockets.abort(fd, watched.cookie)) return;
    scope.postMessage({ kind: "ended", reason, peer, received });
  }
}

scope.onmessage = async ({ data }) => {
  const { libc, reason } = loadLibc();
  if (libc === undefined) return scope.postMessage({ kind: "failed", reason });
  scope.postMessage({ kind: "ready" });
  await new Patrol(new Sockets(libc), data).run();
  scope.postMessage({ kind: "stopped" });
  scope.close();
};
