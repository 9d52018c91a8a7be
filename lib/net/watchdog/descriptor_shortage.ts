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

/** Descriptors run short if fewer than this fraction of the limit are free: 64 of 1,024. */
const SHORTAGE_FRACTION = 1 / 16;
/** The minimum and maximum of that number. Deno and the listener's reserve also use descriptors. */
const MIN_FREE = 16;
const MAX_FREE = 1_024;
/** The newest connections without a request are kept, so that a new client can make one: this fraction of that number. */
const KEPT_FRACTION = 1 / 4;
/** Milliseconds since a request after which a connection counts as idle: until then it may be about to be upgraded. */
const IDLE_AFTER = 1_000;

/** Returns the number of descriptors that must be free. With fewer, descriptors run short. */
export function requiredFreeDescriptors(limit: number): number {
  return Math.min(MAX_FREE, Math.max(MIN_FREE, Math.floor(limit * SHORTAGE_FRACTION)));
}

/**
 * Selects the connections to close, so that four times the number of {@link requiredFreeDescriptors} are free, or fewer if there are not
 * enough. First those without a request, then those with an old request; the oldest first.
 */
export function connectionsToClose(
  idle: readonly IdleConnection[],
  free: number,
  limit: number,
  now: number,
): IdleConnection[] {
  const required = requiredFreeDescriptors(limit);
  const needed = 4 * required - free;
  if (free >= required) return [];
  const byAge = (one: IdleConnection, other: IdleConnection) => one.since - other.since;
  const silent = idle.filter(({ state }) => state === State.none).sort(byAge);
  const silentToClose = silent.slice(
    0,
    Math.max(0, Math.min(needed, silent.length - Math.ceil(required * KEPT_FRACTION))),
  );
  const answered = idle.filter(({ state, since }) => state !== State.none && now - since > IDLE_AFTER).sort(byAge);
  return [...silentToClose, ...answered.slice(0, Math.max(0, needed - silentToClose.length))];
}
