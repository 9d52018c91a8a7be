/**
 * Flushes what Deno leaves in its TLS buffer. If the socket's send buffer is full when Deno writes the end of a message,
 * Deno 2.9 keeps up to 64 KiB of it in the TLS layer and does not flush them. They leave with the next frame that is sent
 * or received. By default the ping of the idle timeout is sent after 15 seconds (measured; in the sources of
 * rustls-tokio-stream `poll_write` reports success, and Deno does not call `poll_flush`). A ping flushes them.
 * @module
 */
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import { sendPing } from "./idle_timeout.ts";
import type { Polled, Poller } from "./poller.ts";

/**
 * Bytes that a socket's send buffer takes in any case, so that fewer leave nothing behind. Linux begins with room for
 * ten segments (net/ipv4/tcp_input.c, `tcp_sndbuf_expand`).
 */
const CHECK_AFTER = 16 * 1024;
/** The maximum plaintext of one TLS record (RFC 8446 section 5.1). */
const MAX_RECORD = 16 * 1024;
/** The bytes that a record adds: TLS 1.3; TLS 1.2 with AES-GCM; TLS 1.2 with ChaCha20. */
const RECORD_OVERHEADS = [22, 29, 21];
const MIN_RECORD_OVERHEAD = Math.min(...RECORD_OVERHEADS);
/**
 * Milliseconds without a message after which a ping is sent although more bytes left than were counted. Text is counted by
 * UTF-16 units and pongs are not counted, so some bytes may or may not be left.
 */
const UNCERTAIN_AFTER = 500;
/** Milliseconds between two checks of a peer that has not acknowledged everything. A check is a system call of 0.7 µs. */
const CHECK_EVERY = 250;

/** The kernel's counts of sent bytes. */
type SentBytes = Pick<WatchedConnection, "acknowledged" | "unacknowledged">;

/** Watches the TLS buffer of one peer: compares the bytes of its messages with those that the kernel sent. */
export class TlsFlush implements Polled {
  readonly #socket: WebSocket;
  readonly #connection: SentBytes;
  readonly #poller: Pick<Poller, "add">;
  readonly #ping: typeof sendPing;
  /** The bytes acknowledged when the TLS buffer was last empty; undefined: not known. */
  #base: number | undefined;
  /** Since then: the bytes of frames, and the records that they need. */
  #bytes = 0;
  #records = 0;
  #polled = false;
  /** `#bytes` at the last poll, and when it last changed. */
  #bytesSeen = 0;
  #quietSince = 0;
  /** When the kernel is asked again. */
  #nextCheck = 0;

  constructor(socket: WebSocket, connection: SentBytes, poller: Pick<Poller, "add">, ping = sendPing) {
    this.#socket = socket;
    this.#connection = connection;
    this.#poller = poller;
    this.#ping = ping;
  }

  /** Called when the socket opens. */
  open(): void {
    const unacknowledged = this.#connection.unacknowledged();
    if (unacknowledged !== undefined) this.#base = this.#connection.acknowledged()! + unacknowledged;
  }

  /** Counts a message that was passed to Deno. */
  sent(bytes: number): void {
    const frame = bytes + (bytes < 126 ? 2 : bytes < 65_536 ? 4 : 10);
    this.#records += Math.ceil(frame / MAX_RECORD);
    if ((this.#bytes += frame) < CHECK_AFTER || this.#polled) return;
    this.#polled = true;
    this.#poller.add(this);
  }

  /** Sends a ping if some bytes did not leave, once no more messages are sent and the peer has acknowledged the others. */
  poll(now: number): boolean {
    this.#polled = this.#check(now);
    return this.#polled;
  }

  /** @returns whether to check again */
  #check(now: number): boolean {
    if (this.#socket.readyState !== WebSocket.OPEN) return false;
    if (this.#bytes !== this.#bytesSeen) {
      this.#bytesSeen = this.#bytes;
      this.#quietSince = now;
      return true;
    }
    if (now < this.#nextCheck || this.#socket.bufferedAmount > 0) return true;
    this.#nextCheck = now + CHECK_EVERY;
    const unacknowledged = this.#connection.unacknowledged();
    if (unacknowledged !== 0) return unacknowledged !== undefined;
    const acknowledged = this.#connection.acknowledged();
    if (acknowledged === undefined) return false;
    if (this.#bytes > 0 && !this.#isFlushed(acknowledged)) {
      if (this.#isUncertain(acknowledged) && now - this.#quietSince < UNCERTAIN_AFTER) return true;
      if (!this.#ping(this.#socket)) return false;
      this.#startCount(undefined);
      return true;
    }
    this.#startCount(acknowledged);
    return false;
  }

  #isFlushed(acknowledged: number): boolean {
    if (this.#base === undefined) return false;
    const overhead = acknowledged - this.#base - this.#bytes;
    return RECORD_OVERHEADS.some((each) => overhead === each * this.#records);
  }

  /** Whether more bytes were acknowledged than were counted. */
  #isUncertain(acknowledged: number): boolean {
    return this.#base !== undefined && acknowledged - this.#base - this.#bytes > MIN_RECORD_OVERHEAD * this.#records;
  }

  /** @param base undefined after a ping, until no more messages are sent: what it sends is not counted */
  #startCount(base: number | undefined): void {
    this.#base = base;
    this.#bytes = 0;
    this.#bytesSeen = 0;
    this.#records = 0;
  }
}
