/**
 * Numbers of frames: a publisher counts in each channel, and a receiver finds what it missed and what comes twice or late.
 * @module
 */

/** Where a publisher is in one channel. */
export interface Counter {
  readonly channel: string;
  readonly epoch: number;
  next: number;
}

/** Channels of which a node remembers the count: 13 MB at the most. */
const REMEMBERED = 65_536;

/** The counters of a publisher, for one kind of channels. */
export class Counters {
  readonly #channelOf: (key: string) => string;
  readonly #counters = new Map<string, Counter>();
  #epoch = 0;

  constructor(channelOf: (key: string) => string) {
    this.#channelOf = channelOf;
  }

  /**
   * The counter of a key. The oldest are forgotten; what is published there again begins a new epoch, and receivers do
   * not notice what was lost just then.
   */
  of(key: string): Counter {
    const known = this.#counters.get(key);
    if (known !== undefined) return known;
    if (this.#counters.size >= REMEMBERED) this.#counters.delete(this.#counters.keys().next().value!);
    const counter = { channel: this.#channelOf(key), epoch: this.#epoch++, next: 0 };
    this.#counters.set(key, counter);
    return counter;
  }
}

interface Last {
  epoch: number;
  number: number;
}

/** What a receiver has had of each publisher in one channel. */
export class Received {
  #origin = -1;
  #last: Last = { epoch: 0, number: 0 };
  /** All publishers, where there are more than one. */
  #all: Map<number, Last> | undefined;

  /**
   * Notes a frame.
   * @returns how many frames before it are missing; -1 for one that comes twice or too late, and is dropped
   */
  note(origin: number, epoch: number, number: number): number {
    const last = origin === this.#origin ? this.#last : this.#find(origin);
    if (last === undefined) {
      this.#add(origin, { epoch, number });
      return 0;
    }
    const newer = (epoch - last.epoch) | 0;
    if (newer < 0) return -1;
    // Numbers are compared modulo 2^32.
    const ahead = (number - last.number) | 0;
    if (newer === 0 && ahead <= 0) return -1;
    last.epoch = epoch;
    last.number = number;
    return newer === 0 ? ahead - 1 : 0;
  }

  /** Forgets publishers that are gone. */
  keep(live: (origin: number) => boolean): void {
    for (const origin of this.#all?.keys() ?? []) {
      if (!live(origin)) this.#all?.delete(origin);
    }
  }

  #find(origin: number): Last | undefined {
    const last = this.#all?.get(origin);
    if (last !== undefined) {
      this.#origin = origin;
      this.#last = last;
    }
    return last;
  }

  #add(origin: number, last: Last): void {
    if (this.#origin >= 0) {
      this.#all ??= new Map([[this.#origin, this.#last]]);
      this.#all.set(origin, last);
    }
    this.#origin = origin;
    this.#last = last;
  }
}
