/**
 * Deno's idle timeout of server-side WebSockets. After half of it without a frame from the peer, Deno sends a ping; after
 * the other half, it ends the connection. Deno has no API to change it later, so its members are found by their
 * descriptions (Deno 2.9, ext/websocket/01_websocket.js).
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Polled, Poller } from "./poller.ts";

/** The members of a WebSocket that Deno uses. */
interface Members {
  /** The idle timeout in seconds; 0: off. Deno reads it when it starts one of the two timers. */
  readonly duration: symbol;
  /** The current timer. */
  readonly timer: symbol;
  /** The method that starts the first timer, instead of the current one. */
  readonly start: symbol;
}

let known: Members | undefined;
/** The timeout, in seconds, that sends the ping at once. */
const IMMEDIATELY = 0.001;
/** The timeout, in seconds, if the idle timeout is off: it must not end the connection. Timers are limited to 2^31 ms. */
const NEVER = 4_000_000;

/** When `sendPing` was last called, for any socket. */
let pingedAt = -Infinity;
/** Milliseconds after `sendPing` in which no timer is restarted, because that would replace the timer of the ping. */
const PING_TIME = 20;

/**
 * Sends a ping: starts the idle timeout with a duration of almost nothing. The pong starts it again with the usual duration.
 * @returns false if this version of Deno lacks the members
 */
export function sendPing(socket: WebSocket): boolean {
  const members = membersOf(socket);
  if (members === undefined) return false;
  const usual = members.duration;
  members.duration = IMMEDIATELY;
  members.start();
  members.duration = usual || NEVER;
  pingedAt = performance.now();
  return true;
}

/** Bytes on their way to a peer that make a transfer long. Fewer arrive in time even on a slow line. */
const LONG = 16 * 1024;
/** Milliseconds between two polls of a transfer: an eighth of the timeout, within these limits. */
const [MIN_INTERVAL, MAX_INTERVAL] = [100, 2_000];

/** What the kernel and the watchdog report about a connection. */
type Transfer = Pick<
  WatchedConnection,
  "received" | "acknowledged" | "unacknowledged" | "hasUnfinishedMessage" | "onUnfinished"
>;

/** A socket that may have a long transfer. */
interface Watched {
  readonly connection: Transfer;
  /** The bytes that the peer read, if it reads, and that it sent, if it sends; undefined before the first poll. */
  bytes: number | undefined;
  /** Deno's timer at the last poll. */
  timer: unknown;
  /** The timer was started after this time. */
  timerSince: number;
}

/**
 * Restarts idle timeouts during long transfers. A ping waits behind earlier messages, in Deno and in the kernel, and a pong
 * waits behind the message that the client is sending. On a slow line the pong comes too late, and Deno would end a
 * connection that is in use (measured: a client that reads 4 MiB at 260 KiB/s with a timeout of 10 s, and one that sends
 * 1 MiB at 110 KiB/s with a timeout of 4 s). So transferred bytes restart the timeout, as a frame does.
 */
export class IdleTimeouts implements Polled {
  /** The timeout in seconds, as Deno takes it; 0: off. */
  readonly seconds: number;
  /** Half of the timeout in milliseconds: the duration of each of Deno's two timers. */
  readonly #half: number;
  readonly #interval: number;
  readonly #poller: Pick<Poller, "add">;
  readonly #open = new Map<WebSocket, Transfer>();
  readonly #watched = new Map<WebSocket, Watched>();
  #polledAt = 0;

  /** @param timeout milliseconds without a frame from the peer after which Deno ends the connection; 0: never */
  constructor(timeout: number, poller: Pick<Poller, "add">) {
    this.seconds = timeout / 1000;
    this.#half = timeout / 2;
    this.#interval = Math.max(MIN_INTERVAL, Math.min(timeout / 8, MAX_INTERVAL));
    this.#poller = poller;
  }

  /** Must be called when the socket opens. */
  add(socket: WebSocket, connection: Transfer): void {
    if (this.seconds === 0) return;
    this.#open.set(socket, connection);
    connection.onUnfinished(this.#watchUploads);
  }

  /** Must be called when the socket closes. Idempotent. */
  delete(socket: WebSocket): void {
    this.#open.delete(socket);
    this.#watched.delete(socket);
  }

  /** Watches the socket until its transfer is complete. Must be called when much was sent. Idempotent. */
  watch(socket: WebSocket): void {
    const connection = this.#open.get(socket);
    if (connection === undefined || this.#watched.has(socket)) return;
    const members = membersOf(socket);
    if (members === undefined) return;
    this.#watched.set(socket, { connection, bytes: undefined, timer: members.timer, timerSince: -Infinity });
    if (this.#watched.size > 1) return;
    this.#polledAt = performance.now();
    this.#poller.add(this);
  }

  /** Restarts the timeouts of transfers with progress, and forgets those that are complete. */
  poll(now: number): boolean {
    if (now - this.#polledAt < this.#interval) return true;
    for (const [socket, watched] of this.#watched) {
      if (socket.readyState !== WebSocket.OPEN || !this.#check(socket, watched, now)) this.#watched.delete(socket);
    }
    this.#polledAt = now;
    return this.#watched.size > 0;
  }

  readonly #watchUploads = (): void => {
    for (const [socket, connection] of this.#open) {
      if (connection.hasUnfinishedMessage()) this.watch(socket);
    }
  };

  /** @returns whether the transfer continues */
  #check(socket: WebSocket, watched: Watched, now: number): boolean {
    const { connection, bytes: before } = watched;
    const members = membersOf(socket)!;
    // Deno started another timer after the last poll: a frame arrived, or a ping was sent.
    if (members.timer !== watched.timer) [watched.timer, watched.timerSince] = [members.timer, this.#polledAt];
    const sending = socket.bufferedAmount + (connection.unacknowledged() ?? 0) >= LONG;
    const receiving = connection.hasUnfinishedMessage();
    if (!sending && !receiving) return false;
    // Only bytes of the transfer count: the kernel also acknowledges the pings.
    const read = sending ? connection.acknowledged() ?? 0 : 0;
    const bytes = watched.bytes = read + (receiving ? connection.received() ?? 0 : 0);
    if (before === undefined || before === bytes || now - pingedAt < PING_TIME) return true;
    // If the first timer may have expired while data waits, Deno may be waiting to write its ping. It then starts its
    // second timer whatever timer runs, so another one would not be stopped by a frame. The next poll sees the second one.
    if (sending && now - watched.timerSince >= this.#half) return true;
    members.start();
    [watched.timer, watched.timerSince] = [members.timer, now];
    return true;
  }
}

/** The members of a socket; undefined if this version of Deno lacks them. */
function membersOf(socket: WebSocket) {
  const members = socket as unknown as Record<symbol, unknown>;
  known ??= find(members);
  if (known === undefined) return undefined;
  const { duration, timer, start } = known;
  return {
    get duration() {
      return members[duration] as number;
    },
    set duration(seconds: number) {
      members[duration] = seconds;
    },
    get timer() {
      return members[timer];
    },
    start: () => (members[start] as () => void).call(socket),
  };
}

function find(members: Record<symbol, unknown>): Members | undefined {
  const symbolOf = (of: object, name: string) =>
    Object.getOwnPropertySymbols(of).find(({ description }) => description === name);
  const duration = symbolOf(members, "[[idleTimeout]]");
  const timer = symbolOf(members, "[[idleTimeoutTimeout]]");
  const start = symbolOf(Object.getPrototypeOf(members), "[[serverHandleIdleTimeout]]");
  if (duration === undefined || timer === undefined || start === undefined) return undefined;
  return typeof members[duration] === "number" && typeof members[start] === "function"
    ? { duration, timer, start }
    : undefined;
}
