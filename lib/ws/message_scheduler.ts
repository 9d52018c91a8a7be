/**
 * Shares the event loop between peers. Deno delivers waiting messages one after the other without a turn of the event
 * loop, and the data that an app sends meanwhile stays in memory. An app that publishes one message to a thousand readers
 * takes eight milliseconds. A thousand such messages blocked all other peers for 7.4 s and took 950 MiB (measured). Each
 * peer therefore has a time budget per turn of the loop. Further messages wait, in order, until the loop has turned and
 * the sent data has left.
 * @module
 */
import { clearImmediate, setImmediate } from "node:timers";
import type { MemoryBudget } from "./memory_budget.ts";

/** A peer whose messages are scheduled. */
export interface ScheduledPeer {
  /** The number of waiting messages. */
  readonly waiting: number;
  /** Passes the first waiting message to the app. */
  handleNext(): void;
  /** The round of `spent`. The scheduler maintains both. */
  round: number;
  /** Milliseconds that the peer's messages took in that round. */
  spent: number;
}

/**
 * Messages and sends after which every message is timed. Until then the clock is read only at the first one, and each
 * time their number has doubled: reading it costs 94 ns (measured). That is enough to notice a slow app.
 */
const CHECK_AFTER = 32;
/** Milliseconds for the messages of one peer in one round, and for those of all peers in one turn. */
const PEER_TIME = 10;
const TURN_TIME = 25;
/** The maximum wait for sent data to leave, ms. For peers that do not read it never leaves. */
const MAX_SEND_WAIT = 100;

/**
 * The scheduler of all peers of a service. A round ends once the loop has turned and most of the sent data has left. The
 * next round begins with the peers that have the fewest waiting messages.
 */
export class MessageScheduler implements Disposable {
  readonly #budget: MemoryBudget;
  readonly #waiting = new Set<ScheduledPeer>();
  /** The number of messages and sends at which the clock is read next, and when it was first read. */
  #checkAt = 1;
  #countedSince = 0;
  /** Set while messages are timed. Runs once the loop has turned. */
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #round = 1;
  /** When messages began to be timed in the current turn, ms. */
  #turnBegan = 0;
  /** The time up to which peers were charged, and the peer whose message was handled since then. */
  #chargedUntil = 0;
  #running: ScheduledPeer | undefined;
  /** When the wait for sends began. */
  #sendsSince: number | undefined;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** Whether a message of this peer may be handled now. If not, queue it and call `add`. */
  mayHandle(peer: ScheduledPeer): boolean {
    return ++this.#budget.operations < this.#checkAt || this.#mayHandle(peer);
  }

  /** Adds a peer with waiting messages. Its `handleNext` is called in a later turn. */
  add(peer: ScheduledPeer): void {
    this.#waiting.add(peer);
    this.#scheduleTurn();
  }

  /** Removes a peer that has ended, or whose messages were dropped. */
  remove(peer: ScheduledPeer): void {
    this.#waiting.delete(peer);
  }

  /** Stops the scheduler. Waiting messages are not handled. */
  [Symbol.dispose](): void {
    this.#waiting.clear();
    if (this.#immediate !== undefined) clearImmediate(this.#immediate);
    this.#immediate = undefined;
  }

  #mayHandle(peer: ScheduledPeer): boolean {
    const now = performance.now();
    if (this.#immediate === undefined) {
      const { operations } = this.#budget;
      if (this.#checkAt === 1) this.#countedSince = now;
      // They may also have come in several turns. Timing the next ones costs little then.
      if (operations < CHECK_AFTER && now - this.#countedSince < PEER_TIME) {
        this.#checkAt = Math.min(2 * operations, CHECK_AFTER);
        return true;
      }
      this.#turnBegan = now;
      this.#running = undefined;
      this.#scheduleTurn();
    }
    this.#charge(now);
    if (now - this.#turnBegan >= TURN_TIME || this.#spentBy(peer) >= PEER_TIME) return false;
    this.#running = peer;
    return true;
  }

  /** Charges the time since the last message to its peer. */
  #charge(now: number): void {
    if (this.#running !== undefined) this.#running.spent += now - this.#chargedUntil;
    this.#running = undefined;
    this.#chargedUntil = now;
  }

  #spentBy(peer: ScheduledPeer): number {
    if (peer.round !== this.#round) {
      peer.round = this.#round;
      peer.spent = 0;
    }
    return peer.spent;
  }

  #scheduleTurn(): void {
    this.#immediate ??= setImmediate(this.#onTurn);
  }

  readonly #onTurn = (): void => {
    this.#immediate = undefined;
    const now = performance.now();
    this.#charge(now);
    if (this.#waiting.size > 0) {
      this.#sendsSince ??= now;
      this.#turnBegan = now;
      this.#scheduleTurn();
      if (!this.#budget.mostSent && now - this.#sendsSince < MAX_SEND_WAIT) return;
      this.#sendsSince = undefined;
      this.#nextRound();
    } else {
      this.#sendsSince = undefined;
      this.#round++;
      this.#budget.operations = 0;
      this.#checkAt = 1;
    }
    this.#budget.resetSamples();
  };

  #nextRound(): void {
    const last = this.#round++;
    const spent = (peer: ScheduledPeer) => peer.round === last ? peer.spent : 0;
    const order = [...this.#waiting].sort((one, other) => one.waiting - other.waiting || spent(one) - spent(other));
    for (const peer of order) {
      if (this.#chargedUntil - this.#turnBegan >= TURN_TIME) break;
      while (peer.waiting > 0 && this.#spentBy(peer) < PEER_TIME && this.#chargedUntil - this.#turnBegan < TURN_TIME) {
        this.#running = peer;
        peer.handleNext();
        this.#charge(performance.now());
      }
      if (peer.waiting === 0) this.#waiting.delete(peer);
    }
  }
}
