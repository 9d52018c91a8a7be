/**
 * Which connections go when descriptors run short. Deno ends its accept loop for good when there is none left, and a
 * connection that makes no request is one that no handler sees: whoever opens enough of them keeps everybody else out.
 * @module
 */
import { State } from "./connection_table.ts";

/** A connection that is no WebSocket. */
export interface IdleConnection {
  readonly fd: number;
  /** One of {@link State}: `none`, `request` or `body`. */
  readonly state: number;
  /** When it was accepted or made its last request, ms. */
  readonly since: number;
}

/** Descriptors are short while fewer than this part of the limit is free: 64 of 1,024. */
const SHORT = 1 / 16;
/** Bounds of that number: Deno and the listener's reserve take their share of a low limit, and a high one has room. */
const LEAST = 16;
const MOST = 1_024;
/** Of those that made no request the youngest stay, so that a newcomer gets to make one; as a part of the same number. */
const SPARED = 1 / 4;
/** Milliseconds since a request after which a connection counts as idle: until then it may be about to be upgraded. */
const ANSWERED_AFTER = 1_000;

/** How many free descriptors are too few. */
export function shortBelow(limit: number): number {
  return Math.min(MOST, Math.max(LEAST, Math.floor(limit * SHORT)));
}

/**
 * The connections to close so that four times the number of {@link shortBelow} are free, or fewer where there are not as many.
 * First those that made no request, then those that made one a while ago and none since; the oldest first.
 */
export function connectionsToClose(
  idle: readonly IdleConnection[],
  free: number,
  limit: number,
  now: number,
): IdleConnection[] {
  const short = shortBelow(limit);
  const needed = 4 * short - free;
  if (free >= short) return [];
  const byAge = (one: IdleConnection, other: IdleConnection) => one.since - other.since;
  const silent = idle.filter(({ state }) => state === State.none).sort(byAge);
  const silentGoing = silent.slice(0, Math.max(0, Math.min(needed, silent.length - Math.ceil(short * SPARED))));
  const answered = idle.filter(({ state, since }) => state !== State.none && now - since > ANSWERED_AFTER).sort(byAge);
  return [...silentGoing, ...answered.slice(0, Math.max(0, needed - silentGoing.length))];
}
