/**
 * The table that the service and the watchdog's thread share: one row per descriptor, in shared memory. The service writes
 * the state of each connection. The thread writes which connections it aborts, and why. Neither waits for the other.
 * @module
 */

/** The state of the connection on a descriptor. */
export const State = {
  /** The connection has made no request. */
  none: 0,
  /** It has made a request without a body, and may make another one. */
  request: 1,
  /** It has made a request with a body, after which Deno closes the connection. */
  body: 2,
  /** The 101 is being sent. */
  upgrading: 3,
  /** It is a WebSocket. */
  open: 4,
  /** A close frame was sent. */
  closing: 5,
} as const;

/** The reasons for which the watchdog aborts a connection. The table contains an index in this list. */
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

/** The maximum number of rows. Descriptors beyond it are not watched. */
const MAX_ROWS = 1 << 20;
/** The indexes of the header. */
export const Header = {
  /** Incremented regularly while the event loop is running. */
  beat: 0,
  /** Not 0: the watchdog must stop. */
  stop: 1,
  /** The number of scans, and of full scans, which cover every connection. */
  scans: 2,
  fullScans: 3,
  /** The total duration of the scans. */
  scanMicroseconds: 4,
  /** The number of unfinished messages at the last full scan. */
  unfinished: 5,
  /** Rows of the table. */
  rows: 6,
} as const;
const HEADER_LENGTH = 8;
const BYTES_PER_ROW = 40;

/** Typed views of one SharedArrayBuffer. The row after the last is used by connections without a row. */
export class ConnectionTable {
  readonly buffer: SharedArrayBuffer;
  readonly rows: number;
  /** See `Header`. */
  readonly header: Int32Array;
  /** The socket's cookie, which shows whether the row still belongs to a socket. */
  readonly cookie: Float64Array;
  readonly state: Int32Array;
  /** The number of requests, which shows whether a further one was made. */
  readonly requestCount: Uint32Array;
  /** Bytes of messages that reached the app, with the overhead of their frames. Wraps around. */
  readonly delivered: Uint32Array;
  /** Bytes that this process had read at the last measurement. 0: never measured. */
  readonly read: Float64Array;
  /** The value of `delivered` at that measurement. */
  readonly deliveredAtRead: Uint32Array;
  /** The low half of the cookie of the socket that the watchdog is ending. */
  readonly abortMark: Int32Array;
  readonly reason: Uint8Array;
  /** 1 if the connection had an unfinished message at the last full scan. */
  readonly unfinished: Uint8Array;

  constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.header = new Int32Array(buffer, 0, HEADER_LENGTH);
    const rows = this.rows = this.header[Header.rows]!;
    let at = HEADER_LENGTH * 4;
    const next = (bytes: number) => (at += (rows + 1) * bytes) - (rows + 1) * bytes;
    this.cookie = new Float64Array(buffer, next(8), rows + 1);
    this.read = new Float64Array(buffer, next(8), rows + 1);
    this.state = new Int32Array(buffer, next(4), rows + 1);
    this.requestCount = new Uint32Array(buffer, next(4), rows + 1);
    this.delivered = new Uint32Array(buffer, next(4), rows + 1);
    this.deliveredAtRead = new Uint32Array(buffer, next(4), rows + 1);
    this.abortMark = new Int32Array(buffer, next(4), rows + 1);
    this.reason = new Uint8Array(buffer, next(1), rows + 1);
    this.unfinished = new Uint8Array(buffer, next(1), rows + 1);
  }

  /** Creates a table for all descriptors that the process may open. Only the used rows occupy memory. */
  static create(limit: number): ConnectionTable {
    const rows = Math.min(limit, MAX_ROWS);
    const buffer = new SharedArrayBuffer(HEADER_LENGTH * 4 + (rows + 1) * BYTES_PER_ROW);
    new Int32Array(buffer)[Header.rows] = rows;
    return new ConnectionTable(buffer);
  }

  /** Returns the low half of a cookie, as it is stored in `abortMark`. Never 0. */
  static mark(cookie: number): number {
    return (cookie | 0) || 1;
  }
}
