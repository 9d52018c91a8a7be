/**
 * What this node wants to hear of: channels with a count of who wants them, numbers of what came, and an unsubscription
 * that waits a second, because who leaves often comes back.
 * @module
 */
import type { Broker, Deliver } from "./broker.ts";
import { epochOf, HEADER, numberOf, originOf } from "./node_frame.ts";
import { Received } from "./sequence_numbers.ts";

/** Milliseconds from the last subscriber's leaving to the broker's unsubscription. */
const LINGER = 1000;

/** What happens to frames that do not come as they should. */
export interface Irregular {
  /** So many frames of a key were lost between a publisher and this node. */
  missed(key: string, count: number): void;
  /** A frame came twice, or after a later one, and is dropped. */
  late(): void;
}

interface Interest {
  readonly channel: string;
  readonly received: Received;
  /** When it is to be given up; undefined while it is wanted. */
  until: number | undefined;
}

/** The interests of one kind: topics, or users. */
export class ChannelSubscriptions implements Disposable {
  readonly #broker: Broker;
  readonly #channelOf: (key: string) => string;
  readonly #deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void;
  readonly #irregular: Irregular;
  readonly #interests = new Map<string, Interest>();
  /** Those that are to be given up, the earliest first. */
  readonly #leaving = new Map<string, Interest>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    broker: Broker,
    channelOf: (key: string) => string,
    deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void,
    irregular: Irregular,
  ) {
    this.#broker = broker;
    this.#channelOf = channelOf;
    this.#deliver = deliver;
    this.#irregular = irregular;
  }

  /** The keys that somebody here wants. */
  *keys(): Iterable<string> {
    for (const [key, { until }] of this.#interests) {
      if (until === undefined) yield key;
    }
  }

  /** The first one here wants it. */
  add(key: string): void {
    const known = this.#interests.get(key);
    if (known !== undefined) {
      known.until = undefined;
      this.#leaving.delete(key);
      return;
    }
    const interest: Interest = { channel: this.#channelOf(key), received: new Received(), until: undefined };
    this.#interests.set(key, interest);
    this.#broker.subscribe(interest.channel, numbered(interest.received, key, this.#deliver, this.#irregular));
  }

  /** The last one here wants it no more. */
  remove(key: string): void {
    const interest = this.#interests.get(key);
    if (interest === undefined) return;
    interest.until = performance.now() + LINGER;
    this.#leaving.set(key, interest);
    this.#timer ??= setTimeout(() => this.#giveUp(), LINGER);
  }

  /** Forgets publishers that are gone. */
  keep(live: (origin: number) => boolean): void {
    for (const { received } of this.#interests.values()) received.keep(live);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #giveUp(): void {
    const now = performance.now();
    this.#timer = undefined;
    for (const [key, { channel, until = 0 }] of this.#leaving) {
      if (until > now) {
        this.#timer = setTimeout(() => this.#giveUp(), until - now);
        return;
      }
      this.#leaving.delete(key);
      this.#interests.delete(key);
      this.#broker.unsubscribe(channel);
    }
  }
}

/** Hands on the frames that are new, and tells of the others. */
export function numbered(
  received: Received,
  key: string,
  deliver: (key: string, frame: Uint8Array<ArrayBuffer>) => void,
  irregular: Irregular,
): Deliver {
  return (frame) => {
    // No node sends such a frame.
    if (frame.length < HEADER) return;
    const missing = received.note(originOf(frame), epochOf(frame), numberOf(frame));
    if (missing < 0) return irregular.late();
    if (missing > 0) irregular.missed(key, missing);
    deliver(key, frame);
  };
}
