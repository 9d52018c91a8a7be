/**
 * The send buffer of one peer. Deno's own buffer is unbounded, and has no event when it shrinks.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Payload } from "../hub/topics.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { WaitForDrainOptions } from "./app_types.ts";
import type { IdleTimeouts } from "./idle_timeout.ts";
import { type MemoryBudget, MESSAGE_COST, type SendSample } from "./memory_budget.ts";
import type { TlsFlush } from "./tls_flush.ts";

/**
 * The result of a send. `closed`: the socket is not open. `wait`: the buffer exceeds half its limit. `over`: it exceeds the
 * limit. `full`: it exceeds the hard limit.
 */
export type SendStatus = "fine" | "closed" | "wait" | "over" | "full";

/** The hard limit as a multiple of the limit. It bounds what an app may send within one turn of the event loop. */
export const HARD_LIMIT = 8;
/** The maximum bytes on the wire of a message without payload: its header and a TLS record. */
const EMPTY_ON_WIRE = 31;
/** Messages between two marks. The upper bound of the number of messages is too high by at most twice this number. */
const MARK_AFTER = 64;
/** Sent bytes after which the peer may have a long transfer, see `IdleTimeouts`. */
const WATCH_AFTER = 16 * 1024;
/** Milliseconds after which messages without payload count as sent, if the kernel does not report acknowledgements. */
const EMPTY_SENT_AFTER = 1_000;

/**
 * How long the first message of a burst may wait for the others, ms. Deno writes each message separately, and starts only
 * after the turn of the event loop, so a shorter wait would end before the writes (measured with `setImmediate`).
 */
const CORK_TIME = 2;

/**
 * Ends bursts: one timer for all peers of a service. A burst begins when a message is sent while another one waits. Its
 * socket is corked, so that the kernel puts many small writes into one segment: with 16 messages of 64 B in flight an
 * echo then takes 0.7 of the CPU (measured).
 */
export class CorkTimer implements Disposable {
  #corked: SendBuffer[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** Uncorks the buffer after the cork time. */
  add(buffer: SendBuffer): void {
    this.#corked.push(buffer);
    this.#timer ??= setTimeout(this.#uncork, CORK_TIME);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#uncork();
  }

  readonly #uncork = (): void => {
    this.#timer = undefined;
    const corked = this.#corked;
    this.#corked = [];
    for (const buffer of corked) buffer.uncork();
  };
}

/** Options of a send buffer. */
export interface SendBufferOptions {
  readonly socket: WebSocket;
  /** The maximum bytes (cost) that may wait. */
  readonly limit: number;
  readonly budget: MemoryBudget;
  /** Corks bursts, and reports the acknowledged bytes. Undefined without a watchdog. */
  readonly connection: Pick<WatchedConnection, "acknowledged" | "cork"> | undefined;
  readonly corkTimer: CorkTimer;
  readonly idleTimeouts: IdleTimeouts;
  /** Flushes the TLS layer. Undefined for plain connections, and without a watchdog. */
  readonly tlsFlush: TlsFlush | undefined;
}

/** The messages that wait to be sent to one peer. Each costs its bytes plus `MESSAGE_COST`. */
export class SendBuffer implements SendSample {
  readonly #socket: WebSocket;
  readonly #budget: MemoryBudget;
  readonly #limit: number;
  readonly #connection: SendBufferOptions["connection"];
  readonly #corkTimer: CorkTimer;
  readonly #tlsFlush: TlsFlush | undefined;
  readonly #idleTimeouts: IdleTimeouts;
  /** The value of `sent` at which the idle timeout is watched again. */
  #watchAt = WATCH_AFTER;
  /** An upper bound of the cost. With it, most sends need no measurement of Deno's buffer. */
  #cost = 0;
  /**
   * Deno reports the bytes that wait, but not the number of messages. Messages leave in order, so once no more bytes wait
   * than were sent after a mark, all messages before the mark have left. `#recent` counts the messages after the last mark,
   * `#older` those between the last two marks.
   */
  #older = 0;
  #recent = 0;
  /** Lower bounds of bytes (a UTF-16 unit has at least one): after the last mark, and before it. */
  #recentBytes = 0;
  #markedBytes = 0;
  /** The shortest message of `#older` and of `#recent`. */
  #shortestOlder = Infinity;
  #shortestRecent = Infinity;
  /** If only messages without payload wait: when they have left, in acknowledged bytes or, if unknown, in milliseconds. */
  #emptyLeft: number | undefined;
  #corked = false;
  #open = false;
  /** The acknowledged bytes when the peer closed. Undefined if nothing was waiting. */
  #acknowledgedAtClose: number | undefined;

  constructor({ socket, limit, budget, connection, corkTimer, idleTimeouts, tlsFlush }: SendBufferOptions) {
    this.#socket = socket;
    this.#limit = limit;
    this.#budget = budget;
    this.#connection = connection;
    this.#corkTimer = corkTimer;
    this.#idleTimeouts = idleTimeouts;
    this.#tlsFlush = tlsFlush;
  }

  /** Called when the peer is open: enables sending. */
  open(): void {
    this.#open = true;
    this.#tlsFlush?.open();
  }

  /** Called when the peer closes: disables sending, and uncorks, so that the close frame does not wait. */
  close(): void {
    if (this.#open && this.#cost > 0) this.#acknowledgedAtClose = this.#connection?.acknowledged();
    this.#open = false;
    this.uncork();
  }

  /** Releases the messages that corking holds back. Idempotent. */
  uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#connection?.cork(false);
  }

  /** The waiting bytes that Deno reports. 0 after a close frame. */
  get buffered(): number {
    return this.#socket.bufferedAmount;
  }

  /** The bytes that have left, according to Deno. Grows as the peer reads. */
  get left(): number {
    return this.#markedBytes + this.#recentBytes - this.buffered;
  }

  /** Whether the buffer exceeds its limit now. */
  get over(): boolean {
    return this.#cost > this.#limit && this.measure() > this.#limit;
  }

  /** Bytes of all binary messages so far, plus characters of all text messages. */
  sent = 0;

  /** Passes a message to Deno, and returns how full the buffer is. */
  send(payload: Payload): SendStatus {
    if (!this.#open) return "closed";
    if (!this.#corked && this.#connection !== undefined && this.#socket.bufferedAmount > 0) this.#cork();
    this.#socket.send(payload);
    const text = typeof payload === "string";
    const bytes = text ? payload.length : payload.byteLength;
    // A UTF-16 unit has at most three bytes.
    const cost = (text ? bytes * 3 : bytes) + MESSAGE_COST;
    this.#recent++;
    this.#recentBytes += bytes;
    this.sent += bytes;
    this.#tlsFlush?.sent(bytes);
    if (this.sent >= this.#watchAt) {
      this.#watchAt = this.sent + WATCH_AFTER;
      this.#idleTimeouts.watch(this.#socket);
    }
    if (bytes < this.#shortestRecent) this.#shortestRecent = bytes;
    this.#cost += cost;
    const budget = this.#budget;
    budget.messages++;
    budget.bytes += bytes;
    budget.sent(cost, this);
    if (this.#recent >= MARK_AFTER) this.measure();
    if (this.#cost * 2 <= this.#limit && budget.used <= budget.limit) return "fine";
    return this.#status(cost);
  }

  #cork(): void {
    this.#corked = this.#connection!.cork(true);
    if (this.#corked) this.#corkTimer.add(this);
  }

  /** Measures the waiting cost. The result is an upper bound, which is tight if messages have similar lengths. */
  measure(): number {
    // After a close frame Deno reports 0 although earlier messages still wait.
    if (!this.#open) return Math.max(0, this.#cost - this.#readSinceClose());
    const { buffered } = this;
    const shortest = Math.min(this.#shortestOlder, this.#shortestRecent);
    if (buffered === 0 && (shortest > 0 || this.#emptyHasLeft())) {
      this.#markedBytes += this.#recentBytes;
      this.#older = this.#recent = this.#recentBytes = 0;
      this.#shortestOlder = this.#shortestRecent = Infinity;
      this.uncork();
      return this.#cost = 0;
    }
    if (buffered > 0 && buffered <= this.#recentBytes) {
      this.#markedBytes += this.#recentBytes;
      this.#older = this.#recent;
      this.#shortestOlder = this.#shortestRecent;
      this.#recent = this.#recentBytes = 0;
      this.#shortestRecent = Infinity;
    }
    const most = shortest > 0 ? Math.ceil(buffered / shortest) : Infinity;
    return this.#cost = buffered + Math.min(this.#older + this.#recent, most) * MESSAGE_COST;
  }

  #readSinceClose(): number {
    const before = this.#acknowledgedAtClose;
    return before === undefined ? 0 : (this.#connection?.acknowledged() ?? before) - before;
  }

  /** Whether messages without payload have left. They count no bytes, so the kernel's acknowledged bytes are used. */
  #emptyHasLeft(): boolean {
    const acknowledged = this.#connection?.acknowledged();
    const now = acknowledged ?? performance.now();
    const due = this.#emptyLeft;
    if (due !== undefined && now >= due) {
      this.#emptyLeft = undefined;
      return true;
    }
    this.#emptyLeft ??= now +
      (acknowledged === undefined ? EMPTY_SENT_AFTER : (this.#older + this.#recent) * EMPTY_ON_WIRE);
    return false;
  }

  /** @param last the cost of the last message */
  #status(last: number): SendStatus {
    const cost = this.measure();
    if (this.#budget.used > this.#budget.limit) this.#budget.enforce();
    if (!this.#open) return "closed";
    if (cost * 2 <= this.#limit) return "fine";
    if (cost <= this.#limit) return "wait";
    // A single message in an empty buffer may have any length.
    return cost > this.#limit * HARD_LIMIT && this.buffered > last ? "full" : "over";
  }
}

/** See `Peer.waitForDrain`. */
export async function waitForDrain(
  peer: Pick<WebSocket, "bufferedAmount" | "readyState">,
  { threshold = 0, pollInterval = 100, signal }: WaitForDrainOptions = {},
): Promise<void> {
  signal?.throwIfAborted();
  while (peer.readyState === WebSocket.OPEN && peer.bufferedAmount > threshold) {
    await delay(pollInterval, signal ? { signal } : {});
  }
}
