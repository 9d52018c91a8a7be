/**
 * When the watchdog ends a connection: rules on what was seen of it, apart from how it was seen.
 * @module
 */
import { type AbortReason, State } from "./connection_table.ts";

/** The bounds, in milliseconds and bytes. */
export interface WatchdogLimits {
  /** Until a connection has made a request, until a request's body is whole, until a 101 is out. */
  readonly handshakeTimeout: number;
  /** Between two requests over one connection. */
  readonly keepAliveTimeout: number;
  /** Between a close frame and the end of the connection. */
  readonly closeTimeout: number;
  /** The longest message that the service takes. */
  readonly maxPayload: number;
  /** From the first bytes of a message to its last. */
  readonly messageTimeout: number;
  /** What the unfinished messages of all connections may have. */
  readonly unfinishedBudget: number;
}

/** What one scan showed of a connection. */
export interface Sample {
  readonly state: number;
  readonly turn: number;
  readonly delivered: number;
  /** What this process had read when it was last measured, 0 where it never was; and what was delivered since. */
  readonly read: number;
  readonly deliveredSince: number;
  /** Bytes that the peer sent and the kernel took. */
  readonly received: number;
  /** Those of them that this process has not read: asked for only where it matters. */
  readonly unread: () => number;
  /** Bytes that this end sent. */
  readonly sent: number;
}

/**
 * Frame headers, TLS records (29 bytes each with TLS 1.2) and messages that wait in Deno's buffer come on top of a
 * message's bytes. Twice the payload leaves room for a message sent in pieces of 30 bytes.
 */
const OVERHEAD = 2;
const SLACK = 256 * 1024;
/** The same for messages that were delivered since what was read was measured, a few at the most. */
const DELIVERED_OVERHEAD = 1.5;
/** Bytes a second of pings and pongs, of which no event tells. 256 is one of the longest, once a second, in TLS. */
const CONTROL_RATE = 256;
/** Pongs that Deno sent prove pings; but no more than these bytes a second, or a fed subscriber could send for ever. */
const ANSWERED_RATE = 1024;
/** Bytes without a delivery, besides control frames, from which on a message counts as begun. */
const BEGUN = 16 * 1024;
/** While the loop stands still: bytes that still wait to be read of a peer that sends faster than it is read. */
const BACKLOG = 16 * 1024;

/** What is remembered of a connection from one scan to the next. */
export class TrackedSocket {
  readonly cookie: number;
  #state: number = State.none;
  #turn = 0;
  #since: number;
  #delivered = 0;
  /** What the last delivery ended with, what was sent until then, and when; as of the first scan after it. */
  #base: { received: number; sent: number; at: number } | undefined;
  /** When an unfinished message was first seen. */
  #begunAt: number | undefined;
  /** What the unfinished message has so far; 0 where there is none. */
  unfinished = 0;
  /** What was read at the last scan while the loop stood still, and in how many scans it read on. */
  #consumed = -1;
  #floods = 0;

  constructor(cookie: number, now: number) {
    this.cookie = cookie;
    this.#since = now;
  }

  /** When it was accepted or, if that is later, made its last request; in time of the watchdog's clock. */
  get since(): number {
    return this.#since;
  }

  /** Takes in what was seen at `now` and says whether the connection is to end, and why. */
  judge(sample: Sample, now: number, limits: WatchdogLimits): AbortReason | undefined {
    if (sample.state !== this.#state || sample.turn !== this.#turn) {
      // A connection that has made no request has had all its time since it was accepted.
      if (sample.state !== State.none) this.#since = now;
      this.#state = sample.state;
      this.#turn = sample.turn;
      this.#base = undefined;
    }
    const age = now - this.#since;
    switch (sample.state) {
      case State.none:
        return age > limits.handshakeTimeout ? "handshake" : undefined;
      case State.request:
        return age > limits.keepAliveTimeout ? "idle" : undefined;
      case State.body:
        return age > limits.handshakeTimeout ? "body" : undefined;
      case State.upgrading:
        return age > limits.handshakeTimeout ? "upgrade" : undefined;
      case State.closing:
        return age > limits.closeTimeout ? "close" : undefined;
      default:
        return this.#judgeMessage(sample, now, limits);
    }
  }

  /**
   * Takes in what was read while the loop stood still. Returns in how many scans the peer was read on although it sends
   * faster than it is read: nothing of that reaches the app, so it is a flood, or a part of one message.
   */
  floods(consumed: number, unread: number): number {
    if (this.#consumed >= 0 && consumed > this.#consumed && unread >= BACKLOG) this.#floods++;
    this.#consumed = consumed;
    return this.#floods;
  }

  /** The loop turns again. */
  calm(): void {
    this.#consumed = -1;
    this.#floods = 0;
  }

  /** More bytes since the last delivery than one message can have, or for longer: Deno keeps the fragments, without bound. */
  #judgeMessage(sample: Sample, now: number, limits: WatchdogLimits): AbortReason | undefined {
    const base = this.#base;
    if (base === undefined || sample.delivered !== this.#delivered) {
      this.#delivered = sample.delivered;
      const whole = sample.read === 0 ? Infinity : sample.read + sample.deliveredSince * DELIVERED_OVERHEAD;
      this.#base = { received: Math.min(sample.received, whole), sent: sample.sent, at: now };
      this.#begunAt = undefined;
      this.unfinished = 0;
      return undefined;
    }
    const seconds = (now - base.at) / 1000;
    const answered = Math.min(sample.sent - base.sent, seconds * ANSWERED_RATE);
    const control = seconds * CONTROL_RATE + answered;
    let bytes = sample.received - base.received - control;
    if (bytes > BEGUN) bytes -= sample.unread();
    if (bytes <= BEGUN) {
      this.#begunAt = undefined;
      this.unfinished = 0;
      return undefined;
    }
    this.unfinished = bytes;
    this.#begunAt ??= now;
    if (bytes > limits.maxPayload * OVERHEAD + SLACK) return "payload";
    return now - this.#begunAt > limits.messageTimeout ? "unfinished" : undefined;
  }
}
