/**
 * The rules by which the watchdog aborts a connection. They depend only on samples, not on how the samples are taken.
 * @module
 */
import { type AbortReason, State } from "./connection_table.ts";

/** The limits, in milliseconds and bytes. */
export interface WatchdogLimits {
  /** For the first request of a connection, for the body of a request, and for sending a 101. */
  readonly handshakeTimeout: number;
  /** Between two requests over one connection, and until a request is answered. */
  readonly keepAliveTimeout: number;
  /** Between a close frame, or the last byte that the peer read after it, and the end of the connection. */
  readonly closeTimeout: number;
  /** The maximum length of a message. */
  readonly maxPayload: number;
  /** From the first bytes of a message to its last. */
  readonly messageTimeout: number;
  /** The maximum bytes of the unfinished messages of all connections together. */
  readonly unfinishedBudget: number;
}

/** Milliseconds for an idle keep-alive connection. */
const KEEP_ALIVE_TIMEOUT = 75_000;

/**
 * The default of `keepAliveTimeout`. The watchdog cannot see whether a request is answered. So it allows the time in which
 * the token check and then the app's upgrade hook may each take `handshakeTimeout`, until the service answers with a 503.
 */
export function defaultKeepAliveTimeout(handshakeTimeout: number): number {
  return Math.max(KEEP_ALIVE_TIMEOUT, 2 * handshakeTimeout + 1_000);
}

/** The state of a connection at one scan. */
export interface ConnectionSample {
  readonly state: number;
  readonly requestCount: number;
  readonly delivered: number;
  /** The bytes that this process had read at the last measurement (0 without one), and those delivered since then. */
  readonly read: number;
  readonly deliveredSince: number;
  /** Bytes that the kernel received from the peer. */
  readonly received: number;
  /** The received bytes that this process has not read. A function, because it is rarely needed. */
  readonly unread: () => number;
  /** Bytes that this end sent and the peer acknowledged. */
  readonly sent: number;
}

/** Milliseconds within which a peer must answer a close frame. They begin again when the peer reads what was sent before. */
export const CLOSE_TIMEOUT = 5_000;
/** The maximum number of milliseconds between a close frame and the end of the connection. */
export const MAX_CLOSE_TIME = 60_000;

/**
 * The received bytes also contain frame headers, TLS records (29 bytes each with TLS 1.2) and messages that wait in Deno's
 * buffer. Twice the payload allows for a message sent in pieces of 30 bytes.
 */
const OVERHEAD = 2;
const SLACK = 256 * 1024;
/** The factor for the few messages that were delivered since the last measurement. */
const DELIVERED_OVERHEAD = 1.5;
/** Bytes per second for pings and pongs, which cause no event. 256 allows one of maximum length per second, with TLS. */
const CONTROL_RATE = 256;
/**
 * Bytes per second that sent pongs may account for. Sent bytes are evidence of pings only up to this rate; otherwise a
 * subscriber that receives much could send without limit.
 */
const PONG_RATE = 1024;
/** More bytes than this without a delivery, apart from control frames, are an unfinished message. */
const UNFINISHED_MIN = 16 * 1024;
/** While the event loop is blocked: with this many unread bytes, a peer sends faster than Deno reads. */
const FLOOD_BACKLOG = 16 * 1024;

/** The state of a connection that is kept between scans. */
export class TrackedSocket {
  readonly cookie: number;
  #state: number = State.none;
  #requestCount = 0;
  #since: number;
  /** While closing: the sent bytes that the peer has acknowledged, and when they last grew. */
  #acknowledged = 0;
  #progressAt = 0;
  #delivered = 0;
  /** The received and sent bytes, and the time, at the first scan after the last delivery. */
  #base: { received: number; sent: number; at: number } | undefined;
  /** When an unfinished message was first seen. */
  #unfinishedSince: number | undefined;
  /** The bytes of the unfinished message so far; 0 without one. */
  unfinished = 0;
  /** The bytes read at the last scan while the loop was blocked, and the number of scans in which they grew. */
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

  /** Records a sample taken at `now`. Returns the reason if the connection must be closed. */
  evaluate(sample: ConnectionSample, now: number, limits: WatchdogLimits): AbortReason | undefined {
    if (sample.state !== this.#state || sample.requestCount !== this.#requestCount) {
      // The timeout of a connection without a request runs since it was accepted.
      if (sample.state !== State.none) this.#since = now;
      this.#state = sample.state;
      this.#requestCount = sample.requestCount;
      this.#base = undefined;
      [this.#acknowledged, this.#progressAt] = [sample.sent, this.#since];
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
        if (sample.sent > this.#acknowledged) [this.#acknowledged, this.#progressAt] = [sample.sent, now];
        if (now - this.#progressAt > limits.closeTimeout || age > MAX_CLOSE_TIME) return "close";
        return this.#evaluateMessage(sample, now, limits);
      default:
        return this.#evaluateMessage(sample, now, limits);
    }
  }

  /**
   * Records the bytes read while the loop was blocked. Returns the number of scans in which the peer's bytes were read while
   * more were waiting. None of them reach the app, so they are a flood or a part of one message.
   */
  recordStalledRead(consumed: number, unread: number): number {
    if (this.#consumed >= 0 && consumed > this.#consumed && unread >= FLOOD_BACKLOG) this.#floods++;
    this.#consumed = consumed;
    return this.#floods;
  }

  /** Must be called when the event loop runs again. */
  resetFloodCount(): void {
    this.#consumed = -1;
    this.#floods = 0;
  }

  /**
   * Detects an unfinished message that is too long or takes too long. Deno keeps the fragments of a message without limit.
   */
  #evaluateMessage(sample: ConnectionSample, now: number, limits: WatchdogLimits): AbortReason | undefined {
    const base = this.#base;
    if (base === undefined || sample.delivered !== this.#delivered) {
      this.#delivered = sample.delivered;
      const whole = sample.read === 0 ? Infinity : sample.read + sample.deliveredSince * DELIVERED_OVERHEAD;
      this.#base = { received: Math.min(sample.received, whole), sent: sample.sent, at: now };
      this.#unfinishedSince = undefined;
      this.unfinished = 0;
      return undefined;
    }
    const seconds = (now - base.at) / 1000;
    const answered = Math.min(sample.sent - base.sent, seconds * PONG_RATE);
    const control = seconds * CONTROL_RATE + answered;
    let bytes = sample.received - base.received - control;
    if (bytes > UNFINISHED_MIN) bytes -= sample.unread();
    if (bytes <= UNFINISHED_MIN) {
      this.#unfinishedSince = undefined;
      this.unfinished = 0;
      return undefined;
    }
    this.unfinished = bytes;
    this.#unfinishedSince ??= now;
    if (bytes > limits.maxPayload * OVERHEAD + SLACK) return "payload";
    return now - this.#unfinishedSince > limits.messageTimeout ? "unfinished" : undefined;
  }
}
