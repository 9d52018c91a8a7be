/**
 * Shares the event loop between peers. Deno delivers messages for as long as there are any, and what an app sends
 * meanwhile stays in memory: a message that an app publishes to a thousand readers takes eight milliseconds, and a
 * thousand of those froze everybody for 7.4 s and took 950 MiB (measured). So a peer's messages have a time in each turn of the
 * loop; those that come after it wait, in order, until the loop has turned and what was sent has left.
 * @module
 */
import { clearImmediate, setImmediate } from "node:timers";
import type { MemoryBudget } from "./memory_budget.ts";

/** A peer whose messages are scheduled. */
export interface ScheduledPeer {
  /** Messages that wait. */
  readonly waiting: number;
  /** Lets the app handle the first of them. */
  handleNext(): void;
  /** The round that `spent` belongs to; kept by the scheduler, like that. */
  round: number;
  /** Milliseconds that its messages took in that round. */
  spent: number;
}

/** Messages and sends after which the clock is read for the first time in a turn: reading it costs 94 ns (measured). */
const CHECK_AFTER = 32;
/** Milliseconds that the messages of one peer may take in one round, and those of all peers in one turn. */
const PEER_TIME = 10;
const TURN_TIME = 25;
/** The longest that waiting messages wait for what was sent to leave, ms: some of it is for peers that do not read. */
const SEND_TIME = 100;

/**
 * The scheduler: one for all peers of a service. A round ends once the loop has turned and most of what was sent has
 * left; in the next one the peers with the fewest waiting messages come first.
 */
export class MessageScheduler implements Disposable {
  readonly #budget: MemoryBudget;
  readonly #waiting = new Set<ScheduledPeer>();
  /** Armed from the moment at which the clock is first read in a turn: runs once the loop has turned. */
  #immediate: ReturnType<typeof setImmediate> | undefined;
  #round = 1;
  /** When the present turn began, as far as known; ms. */
  #turnBegan = 0;
  /** When the last message was handed out, and to whom. */
  #mark = 0;
  #running: ScheduledPeer | undefined;
  /** When the wait for sends began. */
  #sendsSince: number | undefined;

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
  }

  /** Whether a message of this peer may be handled now. If not, keep it and call `wait`. */
  mayHandle(peer: ScheduledPeer): boolean {
    return ++this.#budget.work < CHECK_AFTER || this.#mayHandle(peer);
  }

  /** The peer has messages that wait: it is called in a later turn. */
  wait(peer: ScheduledPeer): void {
    this.#waiting.add(peer);
    this.#arm();
  }

  /** The peer has gone, or its messages are dropped. */
  forget(peer: ScheduledPeer): void {
    this.#waiting.delete(peer);
  }

  /** Stops; what waits is not handled any more. */
  [Symbol.dispose](): void {
    this.#waiting.clear();
    if (this.#immediate !== undefined) clearImmediate(this.#immediate);
    this.#immediate = undefined;
  }

  #mayHandle(peer: ScheduledPeer): boolean {
    const now = performance.now();
    if (this.#immediate === undefined) {
      this.#turnBegan = now;
      this.#running = undefined;
      this.#arm();
    }
    this.#charge(now);
    if (now - this.#turnBegan >= TURN_TIME || this.#spentBy(peer) >= PEER_TIME) return false;
    this.#running = peer;
    return true;
  }

  /** The peer whose message was the last has used the time since. */
  #charge(now: number): void {
    if (this.#running !== undefined) this.#running.spent += now - this.#mark;
    this.#running = undefined;
    this.#mark = now;
  }

  #spentBy(peer: ScheduledPeer): number {
    if (peer.round !== this.#round) {
      peer.round = this.#round;
      peer.spent = 0;
    }
    return peer.spent;
  }

  #arm(): void {
    this.#immediate ??= setImmediate(this.#turned);
  }

  readonly #turned = (): void => {
    this.#immediate = undefined;
    const now = performance.now();
    this.#charge(now);
    if (this.#waiting.size > 0) {
      this.#sendsSince ??= now;
      this.#turnBegan = now;
      this.#arm();
      if (!this.#budget.mostSent && now - this.#sendsSince < SEND_TIME) return;
      this.#sendsSince = undefined;
      this.#nextRound();
    } else {
      this.#sendsSince = undefined;
      this.#round++;
      this.#budget.work = 0;
    }
    this.#budget.forgetSends();
  };

  #nextRound(): void {
    const last = this.#round++;
    const spent = (peer: ScheduledPeer) => peer.round === last ? peer.spent : 0;
    const order = [...this.#waiting].sort((one, other) => one.waiting - other.waiting || spent(one) - spent(other));
    for (const peer of order) {
      if (this.#mark - this.#turnBegan >= TURN_TIME) break;
      while (peer.waiting > 0 && this.#spentBy(peer) < PEER_TIME && this.#mark - this.#turnBegan < TURN_TIME) {
        this.#running = peer;
        peer.handleNext();
        this.#charge(performance.now());
      }
      if (peer.waiting === 0) this.#waiting.delete(peer);
    }
  }
}
