/**
 * What the service and its watchdog both see: one row a descriptor, in shared memory. The service writes what it knows of
 * a connection, the watchdog's thread what it decides; neither waits for the other.
 * @module
 */

/** What the service knows of the connection on a descriptor. */
export const State = {
  /** Nothing: it has not made a request. */
  none: 0,
  /** It made a request that has no body, and may make another. */
  request: 1,
  /** It made a request with a body, after which Deno closes. */
  body: 2,
  /** Its 101 is on its way. */
  upgrading: 3,
  /** It is a WebSocket. */
  open: 4,
  /** A close frame was sent. */
  closing: 5,
} as const;

/** Why the watchdog ended a connection: the index is what the table holds. */
export const ABORT_REASONS = [
  "",
  "handshake",
  "body",
  "idle",
  "flood",
  "payload",
  "close",
  "upgrade",
  "unfinished",
  "memory",
  "descriptors",
] as const;
export type AbortReason = Exclude<typeof ABORT_REASONS[number], "">;

/** Rows that are reserved at most; a descriptor beyond goes unwatched. */
const MOST_ROWS = 1 << 20;
/** Places of the header. */
export const Header = {
  /** Counts on while the event loop turns. */
  beat: 0,
  /** Not 0: the watchdog is asked to stop. */
  stop: 1,
  /** Scans so far, and those of them that were full: of every connection. */
  scans: 2,
  fullScans: 3,
  /** Microseconds that they took. */
  spent: 4,
  /** Rows of the table. */
  rows: 6,
} as const;
const HEADER_LENGTH = 8;
const BYTES_PER_ROW = 40;

/** Typed views on one SharedArrayBuffer. The row after the last is a place for those who have none. */
export class ConnectionTable {
  readonly buffer: SharedArrayBuffer;
  readonly rows: number;
  /** See `Header`. */
  readonly header: Int32Array;
  /** The socket's cookie, which tells whether the row still speaks of the socket at hand. */
  readonly cookie: Float64Array;
  readonly state: Int32Array;
  /** Counts requests, so that a repeated one is seen. */
  readonly turn: Uint32Array;
  /** Bytes of messages that reached the app, with what their frames took. Wraps around. */
  readonly delivered: Uint32Array;
  /** What this process had read of the connection when `deliveredThen` was `delivered`. 0: it was never measured. */
  readonly read: Float64Array;
  readonly deliveredThen: Uint32Array;
  /** The low half of the cookie of the socket that the watchdog is ending. */
  readonly abortMark: Int32Array;
  readonly reason: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.header = new Int32Array(buffer, 0, HEADER_LENGTH);
    const rows = this.rows = this.header[Header.rows]!;
    let at = HEADER_LENGTH * 4;
    const next = (bytes: number) => (at += (rows + 1) * bytes) - (rows + 1) * bytes;
    this.cookie = new Float64Array(buffer, next(8), rows + 1);
    this.read = new Float64Array(buffer, next(8), rows + 1);
    this.state = new Int32Array(buffer, next(4), rows + 1);
    this.turn = new Uint32Array(buffer, next(4), rows + 1);
    this.delivered = new Uint32Array(buffer, next(4), rows + 1);
    this.deliveredThen = new Uint32Array(buffer, next(4), rows + 1);
    this.abortMark = new Int32Array(buffer, next(4), rows + 1);
    this.reason = new Uint8Array(buffer, next(1), rows + 1);
  }

  /** A table for as many descriptors as the process may have. Memory is taken only for the rows that are used. */
  static create(limit: number): ConnectionTable {
    const rows = Math.min(limit, MOST_ROWS);
    const buffer = new SharedArrayBuffer(HEADER_LENGTH * 4 + (rows + 1) * BYTES_PER_ROW);
    new Int32Array(buffer)[Header.rows] = rows;
    return new ConnectionTable(buffer);
  }

  /** The low half of a cookie, as `abortMark` holds it. Never 0. */
  static mark(cookie: number): number {
    return (cookie | 0) || 1;
  }
}
