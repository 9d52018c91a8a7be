/**
 * The channels that this node is subscribed to. Each has the sequence numbers of its publishers. Unsubscribing is delayed
 * by a second, because a peer that leaves a topic often joins it again.
 * @module
 */
import type { Broker, Deliver } from "./broker.ts";
import { epochOf, HEADER, numberOf, originOf } from "./node_frame.ts";
import { Received } from "./sequence_numbers.ts";

/** Milliseconds between the last subscriber's departure and the unsubscription at the broker. */
const UNSUBSCRIBE_DELAY = 1000;
/**
 * The most characters of the keys that wait for this. Beyond it the earliest are unsubscribed at once: a client may choose
 * a key as long as a message, and leave it again.
 */
const MAX_PENDING_CHARACTERS = 8 * 1024 * 1024;

/** Receives reports of lost, repeated and reordered frames. */
export interface SequenceListener {
  /** `count` frames of a key were lost between a publisher and this node. */
  missed(key: string, count: number): void;
  /** A frame arrived twice, or after a later one, and was dropped. */
  late(): void;
}

interface Interest {
  readonly channel: string;
  readonly received: Received;
  /** When to unsubscribe; undefined while the key has subscribers. */
  unsubscribeAt: number | undefined;
}

/** The channel subscriptions of one kind: topics or users. */
export class ChannelSubscriptions implements Disposable {
  readonly #broker: Broker;
  readonly #channelOf: (key: string) => string;
  readonly #deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void;
  readonly #sequenceListener: SequenceListener;
  readonly #interests = new Map<string, Interest>();
  /** Interests without subscribers, the earliest first. */
  readonly #pendingUnsubscribe = new Map<string, Interest>();
  #pendingCharacters = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    broker: Broker,
    channelOf: (key: string) => string,
    deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void,
    sequenceListener: SequenceListener,
  ) {
    this.#broker = broker;
    this.#channelOf = channelOf;
    this.#deliver = deliver;
    this.#sequenceListener = sequenceListener;
  }

  /** The keys that have subscribers on this node. */
  *keys(): Iterable<string> {
    for (const [key, { unsubscribeAt }] of this.#interests) {
      if (unsubscribeAt === undefined) yield key;
    }
  }

  /** Called when a key gets its first subscriber on this node. */
  add(key: string): void {
    const known = this.#interests.get(key);
    if (known !== undefined) {
      known.unsubscribeAt = undefined;
      if (this.#pendingUnsubscribe.delete(key)) this.#pendingCharacters -= key.length;
      return;
    }
    const interest: Interest = { channel: this.#channelOf(key), received: new Received(), unsubscribeAt: undefined };
    this.#interests.set(key, interest);
    this.#broker.subscribe(
      interest.channel,
      checkSequence(interest.received, key, this.#deliver, this.#sequenceListener),
    );
  }

  /** Called when a key has lost its last subscriber on this node. */
  remove(key: string): void {
    const interest = this.#interests.get(key);
    if (interest === undefined) return;
    interest.unsubscribeAt = performance.now() + UNSUBSCRIBE_DELAY;
    this.#pendingUnsubscribe.set(key, interest);
    this.#pendingCharacters += key.length;
    if (this.#timer === undefined || this.#pendingCharacters > MAX_PENDING_CHARACTERS) this.#unsubscribeDue();
  }

  /** Forgets the other publishers. */
  retain(remembered: (origin: number) => boolean): void {
    for (const { received } of this.#interests.values()) received.retain(remembered);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  /** Unsubscribes what is due, and sets the timer for the rest. */
  #unsubscribeDue(): void {
    const now = performance.now();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const [key, { channel, unsubscribeAt = 0 }] of this.#pendingUnsubscribe) {
      if (unsubscribeAt > now && this.#pendingCharacters <= MAX_PENDING_CHARACTERS) {
        this.#timer = setTimeout(() => this.#unsubscribeDue(), unsubscribeAt - now);
        return;
      }
      this.#pendingUnsubscribe.delete(key);
      this.#pendingCharacters -= key.length;
      this.#interests.delete(key);
      this.#broker.unsubscribe(channel);
    }
  }
}

/** Delivers new frames, and reports missing and late ones. */
export function checkSequence(
  received: Received,
  key: string,
  deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void,
  sequenceListener: SequenceListener,
): Deliver {
  return (frame) => {
    // Not a frame of a node.
    if (frame.length < HEADER) return;
    const missing = received.record(originOf(frame), epochOf(frame), numberOf(frame));
    if (missing < 0) return sequenceListener.late();
    if (missing > 0) sequenceListener.missed(key, missing);
    deliver(key, frame);
  };
}
