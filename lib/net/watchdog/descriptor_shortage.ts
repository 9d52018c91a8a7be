/**
 * Selects the connections to close when descriptors run short. Without a free descriptor Deno ends its accept loop
 * permanently. A connection that makes no request reaches no handler, so a client that opens enough of them could otherwise
 * block all others.
 * @module
 */
import { State } from "./connection_table.ts";

/** A connection that is not a WebSocket. */
export interface IdleConnection {
  readonly fd: number;
  /** One of {@link State}: `none`, `request` or `body`. */
  readonly state: number;
  /** When it was accepted or made its last request, ms. */
  readonly since: number;
}

/** Descriptors are short while fewer than this part of the limit is free: 64 of 1,024. */
const SHORT = 1 / 16;
/** The minimum and maximum of that number. Deno and the listener's reserve need a part of a low limit. */
const LEAST = 16;
const MOST = 1_024;
/** The newest connections without a request are kept, so that a new client can make one. A fraction of the same number. */
const SPARED = 1 / 4;
/** Milliseconds since a request after which a connection counts as idle: until then it may be about to be upgraded. */
const ANSWERED_AFTER = 1_000;

/** How many free descriptors are too few. */
export function shortBelow(limit: number): number {
  return Math.min(MOST, Math.max(LEAST, Math.floor(limit * SHORT)));
}

/**
 * Selects the connections to close, so that four times the number of {@link shortBelow} are free, or fewer if there are not
 * enough. First those without a request, then those with an old request; the oldest first.
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
