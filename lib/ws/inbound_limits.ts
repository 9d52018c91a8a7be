/**
 * What one peer may send: how large a message, how many a second, how many that wait for the app.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import { MessageRate } from "./message_rate.ts";
import { MESSAGE_COST } from "./memory_budget.ts";
import { longerThan } from "./message.ts";

/** The bounds, the same for all peers of a service. */
export interface InboundLimitOptions {
  /** Bytes of one message. */
  readonly maxPayload: number;
  /** Messages a second; 0 is unlimited. */
  readonly messageRate: number;
}

/** What to close with. */
export interface CloseFrame {
  readonly code: number;
  readonly reason: string;
  /** Whether a limit of the operator's is the cause. */
  readonly limit?: boolean | undefined;
}

/** Messages of one peer that may wait for their turn. 10,000 in one burst are honest (an upload of lines, say). */
const MAX_WAITING = 20_000;
/** Their bytes, or four messages of the greatest length. */
const MAX_WAITING_BYTES = 16 * 1024 ** 2;
const MAX_WAITING_LONGEST = 4;
/** Places at the front of a queue that may be empty before it is moved up. */
const COMPACT_AFTER = 1_024;

/** Checks the messages of one peer, and keeps those that wait. */
export class InboundLimits {
  readonly #options: InboundLimitOptions;
  readonly #rate: MessageRate | undefined;
  #queue: (string | ArrayBuffer)[] | undefined;
  /** Where the queue begins. */
  #first = 0;
  #queuedBytes = 0;

  constructor(options: InboundLimitOptions) {
    this.#options = options;
    this.#rate = options.messageRate === 0 ? undefined : new MessageRate(options.messageRate);
  }

  /** Counts a message; returns what to close with where it is one too many or too long. */
  check(data: string | ArrayBuffer): CloseFrame | undefined {
    const { maxPayload, messageRate } = this.#options;
    if (longerThan(data, maxPayload)) {
      return { code: CloseCode.MessageTooBig, reason: `a message may have ${maxPayload} bytes`, limit: true };
    }
    if (this.#rate !== undefined && !this.#rate.take(performance.now())) {
      return { code: CloseCode.PolicyViolation, reason: `more than ${messageRate} messages a second`, limit: true };
    }
    return undefined;
  }

  /** Messages that wait. */
  get waiting(): number {
    return this.#queue === undefined ? 0 : this.#queue.length - this.#first;
  }

  /** What those cost; bytes. */
  get cost(): number {
    return this.#queuedBytes + this.waiting * QUEUED_COST;
  }

  /** Keeps a message; returns what to close with where that is one too many. */
  enqueue(data: string | ArrayBuffer): CloseFrame | undefined {
    this.#queuedBytes += sizeOf(data);
    (this.#queue ??= []).push(data);
    const most = Math.max(MAX_WAITING_BYTES, this.#options.maxPayload * MAX_WAITING_LONGEST);
    if (this.waiting <= MAX_WAITING && this.#queuedBytes <= most) return undefined;
    const reason = "too many messages, or too long ones, without waiting: nobody else was served";
    return { code: CloseCode.PolicyViolation, reason, limit: true };
  }

  /** The first that waits, taken out. */
  dequeue(): string | ArrayBuffer | undefined {
    const queue = this.#queue;
    if (queue === undefined) return undefined;
    const data = queue[this.#first]!;
    queue[this.#first++] = "";
    this.#queuedBytes -= sizeOf(data);
    if (this.#first === queue.length) this.dropQueue();
    else if (this.#first >= COMPACT_AFTER && this.#first * 2 > queue.length) {
      queue.splice(0, this.#first);
      this.#first = 0;
    }
    return data;
  }

  /** Forgets what waits. */
  dropQueue(): void {
    this.#queue = undefined;
    this.#first = 0;
    this.#queuedBytes = 0;
  }
}

/** Memory that a message in the queue costs besides its bytes. */
const QUEUED_COST = MESSAGE_COST / 8;

function sizeOf(data: string | ArrayBuffer): number {
  return typeof data === "string" ? data.length : data.byteLength;
}
