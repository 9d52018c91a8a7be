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
  return true;
}

/** The factor of a suspended idle timeout. It still ends a connection if nothing else does. */
const SUSPENDED = 20;
/** Milliseconds between two checks of the suspended timeouts: an eighth of the timeout, within these limits. */
const [MIN_INTERVAL, MAX_INTERVAL] = [100, 2_000];

/** What the kernel and the watchdog report about a connection. */
type Transfer = Pick<
  WatchedConnection,
  "received" | "acknowledged" | "unacknowledged" | "hasUnfinishedMessage" | "onUnfinished"
>;

/** A suspended idle timeout. */
interface Suspended {
  readonly connection: Transfer;
  /** Deno's timer, if it still has the usual duration. */
  readonly timer: unknown;
  /** See `transferred`. */
  bytes: number;
  progressAt: number;
}

/**
 * Suspends idle timeouts during long transfers. A ping waits behind earlier messages, in Deno and in the kernel, and a pong
 * waits behind the message that the client is sending. On a slow line the pong comes too late, and Deno would end a
 * connection that is in use (measured: a client that reads 4 MiB at 260 KiB/s with a timeout of 10 s, and one that sends
 * 1 MiB at 110 KiB/s with a timeout of 4 s).
 */
export class IdleTimeouts implements Polled {
  /** The timeout in seconds, as Deno takes it; 0: off. */
  readonly seconds: number;
  readonly #timeout: number;
  readonly #interval: number;
  readonly #poller: Pick<Poller, "add">;
  readonly #open = new Map<WebSocket, Transfer>();
  readonly #suspended = new Map<WebSocket, Suspended>();
  /** The bytes of transfers that have stopped. Their timeouts are suspended again only if more bytes follow. */
  readonly #stopped = new Map<WebSocket, number>();
  #nextCheck = 0;
  #nextUploadCheck = 0;

  /** @param timeout milliseconds without a frame from the peer after which Deno ends the connection; 0: never */
  constructor(timeout: number, poller: Pick<Poller, "add">) {
    this.seconds = timeout / 1000;
    this.#timeout = timeout;
    this.#interval = Math.max(MIN_INTERVAL, Math.min(timeout / 8, MAX_INTERVAL));
    this.#poller = poller;
  }

  /** Must be called when the socket opens: suspends its timeout whenever the peer sends a long message. */
  add(socket: WebSocket, connection: Transfer): void {
    if (this.#timeout === 0) return;
    this.#open.set(socket, connection);
    connection.onUnfinished(this.#checkUploads);
  }

  /** Must be called when the socket closes. Idempotent. */
  delete(socket: WebSocket): void {
    this.#open.delete(socket);
    this.#suspended.delete(socket);
    this.#stopped.delete(socket);
  }

  /** Suspends the timeout of an open socket until its transfer is complete. Idempotent. */
  suspend(socket: WebSocket): void {
    const connection = this.#open.get(socket);
    if (connection === undefined || this.#suspended.has(socket)) return;
    const members = membersOf(socket);
    const bytes = transferred(socket, connection);
    if (members === undefined || bytes === undefined || this.#stopped.get(socket) === bytes) return;
    this.#stopped.delete(socket);
    members.duration = Math.min(this.seconds * SUSPENDED, NEVER);
    let timer = members.timer;
    // While data waits, Deno may be waiting to send a ping. It would then start its timer in addition to this one.
    if (socket.bufferedAmount === 0) {
      members.start();
      timer = undefined;
    }
    const now = performance.now();
    this.#suspended.set(socket, { connection, timer, bytes, progressAt: now });
    if (this.#suspended.size > 1) return;
    this.#nextCheck = now + this.#interval;
    this.#poller.add(this);
  }

  /** Ends the suspensions whose transfer is complete or has stopped. */
  poll(now: number): boolean {
    if (now < this.#nextCheck) return true;
    this.#nextCheck = now + this.#interval;
    for (const [socket, suspended] of this.#suspended) {
      const bytes = transferred(socket, suspended.connection);
      if (bytes !== undefined && bytes !== suspended.bytes) [suspended.bytes, suspended.progressAt] = [bytes, now];
      if (bytes !== undefined && now - suspended.progressAt < this.#timeout) continue;
      this.#suspended.delete(socket);
      if (bytes !== undefined) this.#stopped.set(socket, bytes);
      this.#resume(socket, suspended);
    }
    return this.#suspended.size > 0;
  }

  readonly #checkUploads = (): void => {
    const now = performance.now();
    if (now < this.#nextUploadCheck) return;
    this.#nextUploadCheck = now + this.#interval;
    for (const [socket, connection] of this.#open) {
      if (connection.hasUnfinishedMessage()) this.suspend(socket);
    }
  };

  #resume(socket: WebSocket, { timer }: Suspended): void {
    if (socket.readyState !== WebSocket.OPEN) return;
    const members = membersOf(socket)!;
    members.duration = this.seconds;
    // The timer of the suspension still runs if no frame arrived and no ping was sent meanwhile.
    if (timer === undefined || members.timer !== timer) members.start();
  }
}

/** The bytes that the peer has read while more are waiting, and those of its unfinished message. Undefined without either. */
function transferred(socket: WebSocket, connection: Transfer): number | undefined {
  const sending = socket.bufferedAmount > 0 || (connection.unacknowledged() ?? 0) > 0;
  const receiving = connection.hasUnfinishedMessage();
  if (!sending && !receiving) return undefined;
  return (sending ? connection.acknowledged() ?? 0 : 0) + (receiving ? connection.received() ?? 0 : 0);
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
