/**
 * Sequence numbers of frames. A publisher numbers its frames in each channel; a receiver detects missing, repeated and
 * late frames.
 * @module
 */

/** A publisher's position in one channel. */
export interface Counter {
  readonly channel: string;
  readonly epoch: number;
  next: number;
}

/** The most channels whose counters a node keeps: 13 MB at most, in addition to their keys. */
const MAX_COUNTERS = 65_536;
/** The most characters of all keys. A client may choose a key, for example a topic, as long as a message. */
const MAX_KEY_CHARACTERS = 8 * 1024 * 1024;

/** A publisher's counters for one kind of channel. */
export class Counters {
  readonly #channelOf: (key: string) => string;
  readonly #counters = new Map<string, Counter>();
  #keyCharacters = 0;
  #epoch = 0;

  constructor(channelOf: (key: string) => string) {
    this.#channelOf = channelOf;
  }

  /**
   * Returns the counter of a key. The oldest counters are dropped. A key whose counter was dropped starts a new epoch, and
   * receivers do not detect frames that are lost between the two epochs.
   */
  of(key: string): Counter {
    const known = this.#counters.get(key);
    if (known !== undefined) return known;
    const counter = { channel: this.#channelOf(key), epoch: this.#epoch++, next: 0 };
    this.#counters.set(key, counter);
    this.#keyCharacters += key.length;
    this.#dropOldest();
    return counter;
  }

  #dropOldest(): void {
    for (const oldest of this.#counters.keys()) {
      if (this.#counters.size <= MAX_COUNTERS && this.#keyCharacters <= MAX_KEY_CHARACTERS) return;
      this.#counters.delete(oldest);
      this.#keyCharacters -= oldest.length;
    }
  }
}

interface Last {
  epoch: number;
  number: number;
}

/** The last frame that a receiver got from each publisher in one channel. */
export class Received {
  #origin = -1;
  #last: Last = { epoch: 0, number: 0 };
  /** All publishers, if there is more than one. */
  #all: Map<number, Last> | undefined;

  /**
   * Records a frame.
   * @returns how many frames before this one are missing, or -1 if this one is repeated or late and must be dropped
   */
  record(origin: number, epoch: number, number: number): number {
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

  /** Forgets the other publishers. */
  retain(remembered: (origin: number) => boolean): void {
    for (const origin of this.#all?.keys() ?? []) {
      if (!remembered(origin)) this.#all?.delete(origin);
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
