/**
 * Limits of one peer's messages: their size, their rate, and how many may wait for the app.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import { MessageRate } from "./message_rate.ts";
import { MESSAGE_COST } from "./memory_budget.ts";
import { longerThan } from "./message.ts";

/** The limits, which are the same for all peers of a service. */
export interface InboundLimitOptions {
  /** The maximum length of a message in bytes. */
  readonly maxPayload: number;
  /** The maximum number of messages per second; 0: unlimited. */
  readonly messageRate: number;
}

/** The close frame for a peer that exceeds a limit. */
export interface CloseFrame {
  readonly code: number;
  readonly reason: string;
  /** Whether the cause is a limit that the operator set. */
  readonly limit?: boolean | undefined;
}

/** The maximum number of waiting messages of one peer. A burst of 10,000 is legitimate (for example an upload of lines). */
const MAX_WAITING = 20_000;
/** The maximum bytes of waiting messages. At least `MAX_WAITING_LONGEST` messages of maximum length may always wait. */
const MAX_WAITING_BYTES = 16 * 1024 ** 2;
const MAX_WAITING_LONGEST = 4;
/** The number of empty elements at the front of the queue at which it is compacted. */
const COMPACT_AFTER = 1_024;
/** The memory of a queued message in addition to its bytes. */
export const QUEUED_COST = MESSAGE_COST / 8;

/** Checks the messages of one peer, and queues those that wait. */
export class InboundLimits {
  readonly #options: InboundLimitOptions;
  readonly #rate: MessageRate | undefined;
  #queue: (string | ArrayBuffer)[] | undefined;
  /** The index of the first message in the queue. */
  #first = 0;
  #queuedBytes = 0;

  constructor(options: InboundLimitOptions) {
    this.#options = options;
    this.#rate = options.messageRate === 0 ? undefined : new MessageRate(options.messageRate);
  }

  /** Counts a message. Returns a close frame if it exceeds the rate or the length. */
  check(data: string | ArrayBuffer): CloseFrame | undefined {
    const { maxPayload, messageRate } = this.#options;
    if (longerThan(data, maxPayload)) {
      return { code: CloseCode.MessageTooBig, reason: `message exceeds maxPayload (${maxPayload} bytes)`, limit: true };
    }
    if (this.#rate !== undefined && !this.#rate.take(performance.now())) {
      return { code: CloseCode.PolicyViolation, reason: `message rate exceeds ${messageRate} per second`, limit: true };
    }
    return undefined;
  }

  /** The number of waiting messages. */
  get waiting(): number {
    return this.#queue === undefined ? 0 : this.#queue.length - this.#first;
  }

  /** The cost of the waiting messages, bytes. */
  get cost(): number {
    return this.#queuedBytes + this.waiting * QUEUED_COST;
  }

  /** Queues a message. Returns a close frame if the queue is full. */
  enqueue(data: string | ArrayBuffer): CloseFrame | undefined {
    this.#queuedBytes += sizeOf(data);
    (this.#queue ??= []).push(data);
    const most = Math.max(MAX_WAITING_BYTES, this.#options.maxPayload * MAX_WAITING_LONGEST);
    if (this.waiting <= MAX_WAITING && this.#queuedBytes <= most) return undefined;
    const reason = "message queue full: the client sends faster than the service can handle";
    return { code: CloseCode.PolicyViolation, reason, limit: true };
  }

  /** Removes and returns the first waiting message. */
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

  /** Drops all waiting messages. */
  dropQueue(): void {
    this.#queue = undefined;
    this.#first = 0;
    this.#queuedBytes = 0;
  }
}

function sizeOf(data: string | ArrayBuffer): number {
  return typeof data === "string" ? data.length : data.byteLength;
}
