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

/** The kernel's counts of sent bytes. */
type SentBytes = Pick<WatchedConnection, "acknowledged" | "unacknowledged">;

/** A suspended idle timeout. */
interface Suspended {
  readonly connection: SentBytes;
  /** The timer at the time of the suspension. Another one was started with the longer duration. */
  readonly timer: unknown;
  acknowledged: number | undefined;
  progressAt: number;
}

/**
 * Suspends idle timeouts while peers read what was sent to them. A ping waits behind earlier messages, in Deno and in the
 * kernel. On a slow line the pong comes too late, and Deno would end a connection whose peer reads all the time
 * (measured: 4 MiB at 260 KiB/s with a timeout of 10 s).
 */
export class IdleTimeouts implements Polled {
  /** The timeout in seconds, as Deno takes it; 0: off. */
  readonly seconds: number;
  readonly #timeout: number;
  readonly #interval: number;
  readonly #poller: Pick<Poller, "add">;
  readonly #suspended = new Map<WebSocket, Suspended>();
  #nextCheck = 0;

  /** @param timeout milliseconds without a frame from the peer after which Deno ends the connection; 0: never */
  constructor(timeout: number, poller: Pick<Poller, "add">) {
    this.seconds = timeout / 1000;
    this.#timeout = timeout;
    this.#interval = Math.max(MIN_INTERVAL, Math.min(timeout / 8, MAX_INTERVAL));
    this.#poller = poller;
  }

  /** Suspends the timeout until the peer has acknowledged everything. Idempotent. */
  suspend(socket: WebSocket, connection: SentBytes): void {
    if (this.#suspended.has(socket)) return;
    const members = membersOf(socket);
    if (members === undefined || members.duration === 0) return;
    members.duration = Math.min(this.seconds * SUSPENDED, NEVER);
    const now = performance.now();
    const acknowledged = connection.acknowledged();
    this.#suspended.set(socket, { connection, timer: members.timer, acknowledged, progressAt: now });
    if (this.#suspended.size > 1) return;
    this.#nextCheck = now + this.#interval;
    this.#poller.add(this);
  }

  /** Ends the suspensions of peers that have read everything, have stopped reading, or are closing. */
  poll(now: number): boolean {
    if (now < this.#nextCheck) return true;
    this.#nextCheck = now + this.#interval;
    for (const [socket, suspended] of this.#suspended) {
      const open = socket.readyState === WebSocket.OPEN;
      if (open && this.#isReading(socket, suspended, now)) continue;
      this.#suspended.delete(socket);
      if (open) this.#resume(socket, suspended);
    }
    return this.#suspended.size > 0;
  }

  #isReading(socket: WebSocket, suspended: Suspended, now: number): boolean {
    if (suspended.connection.unacknowledged() === 0 && socket.bufferedAmount === 0) return false;
    const acknowledged = suspended.connection.acknowledged();
    if (acknowledged !== suspended.acknowledged) {
      suspended.acknowledged = acknowledged;
      suspended.progressAt = now;
    }
    return now - suspended.progressAt < this.#timeout;
  }

  #resume(socket: WebSocket, { timer }: Suspended): void {
    const members = membersOf(socket)!;
    members.duration = this.seconds;
    // The usual timer still runs if no frame arrived and no ping was sent meanwhile.
    if (members.timer !== timer) members.start();
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
