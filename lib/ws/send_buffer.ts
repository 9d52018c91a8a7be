/**
 * What one peer has still to take: Deno's send buffer is unbounded, and nothing fires when it falls.
 * @module
 */
import { delay } from "@std/async/delay";
import type { Payload } from "../hub/topics.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { WaitForDrainOptions } from "./app_types.ts";
import { type MemoryBudget, MESSAGE_COST, type SendSample } from "./memory_budget.ts";

/**
 * How a send went. `closed`: the socket is not open; `wait`: the buffer is over half its limit; `over`: over the limit;
 * `full`: over the hard limit.
 */
export type SendStatus = "fine" | "closed" | "wait" | "over" | "full";

/** The hard limit as a multiple of the limit: what an app may send before the network had a chance to take any of it. */
export const HARD_LIMIT = 8;
/** Bytes on the wire, at the most, of a message without payload: its header and a TLS record. */
const EMPTY_ON_WIRE = 31;
/** Messages after which a mark is set: the bound of their number is wrong by two times that at the most. */
const MARK_AFTER = 64;
/** Where the kernel does not tell what was acknowledged, messages without payload are taken to leave within this time, ms. */
const EMPTY_LEAVES_WITHIN = 1_000;

/**
 * How long the first message of a burst may wait for the others, ms. Deno writes each message by itself, and the writes
 * begin only after the turn of the event loop: shorter waits end before them (measured with `setImmediate`).
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

  /** Uncorks the buffer when the time is over. */
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

/** How a send buffer is made. */
export interface SendBufferOptions {
  readonly socket: WebSocket;
  /** Cost that may wait, bytes. */
  readonly limit: number;
  readonly budget: MemoryBudget;
  /** Corks bursts, and tells what the peer has acknowledged; undefined where there is no watchdog. */
  readonly connection: Pick<WatchedConnection, "acknowledged" | "cork"> | undefined;
  readonly corkTimer: CorkTimer;
}

/** The messages on their way to one peer. Each counts with its bytes and `MESSAGE_COST`. */
export class SendBuffer implements SendSample {
  readonly #socket: WebSocket;
  readonly #budget: MemoryBudget;
  readonly #limit: number;
  readonly #connection: SendBufferOptions["connection"];
  readonly #corkTimer: CorkTimer;
  /** An upper bound of the cost: asking Deno is a call that most sends can do without. */
  #cost = 0;
  /**
   * Deno tells the bytes that wait and not the messages. Messages leave in order: once no more bytes wait than were sent
   * after a mark, all messages from before the mark have left. `#recent` counts those after the last mark, `#older`
   * those between it and the mark before.
   */
  #older = 0;
  #recent = 0;
  /** Bytes at the least: a UTF-16 unit is one byte or more. The second are all of before. */
  #recentBytes = 0;
  #markedBytes = 0;
  /** The shortest message of each of the two. */
  #shortestOlder = Infinity;
  #shortestRecent = Infinity;
  /** Where all that waits is without payload: when it has left. Bytes acknowledged, or ms where nobody knows. */
  #emptyLeft: number | undefined;
  #corked = false;
  #open = false;

  constructor({ socket, limit, budget, connection, corkTimer }: SendBufferOptions) {
    this.#socket = socket;
    this.#limit = limit;
    this.#budget = budget;
    this.#connection = connection;
    this.#corkTimer = corkTimer;
  }

  /** The peer is open: from now on messages are sent. */
  open(): void {
    this.#open = true;
  }

  /** The peer closes: no more messages are sent, and a close frame does not wait. */
  close(): void {
    this.#open = false;
    this.uncork();
  }

  /** Lets go what a burst holds back. Idempotent. */
  uncork(): void {
    if (!this.#corked) return;
    this.#corked = false;
    this.#connection?.cork(false);
  }

  /** Bytes that wait, as Deno tells. 0 after a close frame. */
  get buffered(): number {
    return this.#socket.bufferedAmount;
  }

  /** Bytes that have left, as far as Deno tells: grows as the peer reads. */
  get left(): number {
    return this.#markedBytes + this.#recentBytes - this.buffered;
  }

  /** Whether it is over its limit now. */
  get over(): boolean {
    return this.#cost > this.#limit && this.measure() > this.#limit;
  }

  /** See `Peer.waitForDrain`. */
  async drained({ threshold = 0, pollInterval = 100, signal }: WaitForDrainOptions = {}): Promise<void> {
    signal?.throwIfAborted();
    while (this.#open && this.buffered > threshold) {
      await delay(pollInterval, signal ? { signal } : {});
    }
  }

  /** Bytes of all messages so far; of text, its characters. */
  sent = 0;

  /** Hands a message to Deno, and tells how full the buffer then is. */
  send(payload: Payload): SendStatus {
    if (!this.#open) return "closed";
    if (!this.#corked && this.#connection !== undefined && this.#socket.bufferedAmount > 0) this.#cork();
    this.#socket.send(payload);
    const text = typeof payload === "string";
    const bytes = text ? payload.length : payload.byteLength;
    // A UTF-16 unit is three bytes at the most.
    const cost = (text ? bytes * 3 : bytes) + MESSAGE_COST;
    this.#recent++;
    this.#recentBytes += bytes;
    this.sent += bytes;
    if (bytes < this.#shortestRecent) this.#shortestRecent = bytes;
    this.#cost += cost;
    const budget = this.#budget;
    budget.sent(cost, this);
    if (this.#recent >= MARK_AFTER) this.measure();
    if (this.#cost * 2 <= this.#limit && budget.used <= budget.limit) return "fine";
    return this.#status(cost);
  }

  #cork(): void {
    this.#corked = this.#connection!.cork(true);
    if (this.#corked) this.#corkTimer.add(this);
  }

  /** The cost of what waits: an upper bound, which is close where messages are of like length. */
  measure(): number {
    // After a close frame Deno says 0, while what was sent before still waits.
    if (!this.#open) return this.#cost;
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

  /** No byte waits, but messages without payload may: they leave as the kernel's count of bytes goes on. */
  #emptyHasLeft(): boolean {
    const acknowledged = this.#connection?.acknowledged();
    const now = acknowledged ?? performance.now();
    const due = this.#emptyLeft;
    if (due !== undefined && now >= due) {
      this.#emptyLeft = undefined;
      return true;
    }
    this.#emptyLeft ??= now +
      (acknowledged === undefined ? EMPTY_LEAVES_WITHIN : (this.#older + this.#recent) * EMPTY_ON_WIRE);
    return false;
  }

  /** @param last the cost of the message that was just sent */
  #status(last: number): SendStatus {
    const cost = this.measure();
    if (this.#budget.used > this.#budget.limit) this.#budget.enforce();
    if (!this.#open) return "closed";
    if (cost * 2 <= this.#limit) return "fine";
    if (cost <= this.#limit) return "wait";
    // One message over an empty buffer may be as long as the app likes.
    return cost > this.#limit * HARD_LIMIT && this.buffered > last ? "full" : "over";
  }
}
