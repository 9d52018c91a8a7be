/**
 * The wire format between a worker and its supervisor's relay, which use a unix socket, and the buffers on both sides.
 *
 *     0   4  length of the rest, little-endian
 *     4   1  kind: see {@link Kind}
 *     5   2  length of the channel, little-endian
 *     7   …  the channel, ASCII, then the payload
 *
 * @module
 */

/** The kind of a message on the wire. */
export const Kind = {
  /** To the relay: publishes a frame. From the relay: delivers one. */
  publish: 1,
  subscribe: 2,
  unsubscribe: 3,
  /** Asks the relay to answer `flushed` once it has processed all earlier messages. */
  flush: 4,
  flushed: 5,
  /** From the relay, several times a second: it handles no message of this worker until a slower worker has read. */
  held: 6,
} as const;

/** Bytes before the channel. */
const HEADER = 7;
const INITIAL_BUFFER = 64 * 1024;
/** A buffer that grew beyond this in a burst is released. */
const KEPT_BUFFER = 1024 * 1024;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const EMPTY = new Uint8Array(0);

/** Batches the messages of one turn of the event loop into one write. */
export class WireWriter {
  readonly #connection: Deno.Conn;
  #buffer = new Uint8Array(INITIAL_BUFFER);
  #spare = new Uint8Array(INITIAL_BUFFER);
  #length = 0;
  #inFlight = 0;
  #scheduled = false;
  #writing = false;
  #ended = false;
  readonly #waiters = new Set<() => void>();
  /** Bytes that the socket has accepted. Distinguishes a slow reader from a stalled one. */
  written = 0;
  /** Like `written`, but only while more bytes waited: bytes that the kernel buffers at once do not prove a reader. */
  writtenUnderPressure = 0;

  constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  /** Bytes that wait to be written. */
  get waiting(): number {
    return this.#length + this.#inFlight;
  }

  /** Adds a message. */
  write(kind: number, channel: string, payload: Uint8Array = EMPTY): void {
    if (this.#ended) return;
    const start = this.#length;
    this.#reserve(HEADER + channel.length + payload.length);
    const buffer = this.#buffer;
    const { written } = encoder.encodeInto(channel, buffer.subarray(start + HEADER));
    buffer.set(payload, start + HEADER + written);
    const length = HEADER - 4 + written + payload.length;
    buffer[start] = length;
    buffer[start + 1] = length >>> 8;
    buffer[start + 2] = length >>> 16;
    buffer[start + 3] = length >>> 24;
    buffer[start + 4] = kind;
    buffer[start + 5] = written;
    buffer[start + 6] = written >>> 8;
    this.#added(start + 4 + length);
  }

  /** Adds a message in wire format, unchanged. */
  forward(message: Uint8Array): void {
    if (this.#ended) return;
    const start = this.#length;
    this.#reserve(message.length);
    this.#buffer.set(message, start);
    this.#added(start + message.length);
  }

  /** Resolves when no bytes wait, the connection has ended, or this many milliseconds have passed. */
  async drained(timeout: number): Promise<void> {
    if (this.waiting === 0 || this.#ended) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiters.add(resolve);
    const timer = setTimeout(resolve, timeout);
    await promise;
    clearTimeout(timer);
    this.#waiters.delete(resolve);
  }

  /** Discards the waiting messages, and ignores later ones. */
  end(): void {
    this.#ended = true;
    this.#length = 0;
    this.#resolveWaiters();
  }

  #reserve(bytes: number): void {
    if (this.#length + bytes <= this.#buffer.length) return;
    const larger = new Uint8Array(Math.max(this.#buffer.length * 2, this.#length + bytes));
    larger.set(this.#buffer.subarray(0, this.#length));
    this.#buffer = larger;
  }

  #added(length: number): void {
    this.#length = length;
    if (this.#scheduled || this.#writing) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      void this.#flush();
    });
  }

  async #flush(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#length > 0) {
        const bytes = this.#buffer.subarray(0, this.#length);
        const grown = this.#buffer.length > KEPT_BUFFER;
        const next = this.#spare;
        this.#spare = grown ? new Uint8Array(INITIAL_BUFFER) : this.#buffer;
        this.#buffer = next;
        this.#inFlight = this.#length;
        this.#length = 0;
        for (let at = 0; at < bytes.length;) {
          const count = await this.#connection.write(bytes.subarray(at));
          at += count;
          this.written += count;
          this.#inFlight -= count;
          if (this.waiting > 0) this.writtenUnderPressure += count;
        }
      }
    } catch {
      // The reader of the same connection reports the failure.
      this.end();
    }
    this.#inFlight = 0;
    this.#writing = false;
    this.#resolveWaiters();
  }

  #resolveWaiters(): void {
    for (const resolve of this.#waiters) resolve();
  }
}

/**
 * Handles one message. `message` is the whole message in wire format, for {@link WireWriter.forward}. The bytes are valid
 * only during the call.
 */
export type OnMessage = (
  kind: number,
  channel: string,
  payload: Uint8Array<ArrayBuffer>,
  message: Uint8Array<ArrayBuffer>,
) => void | Promise<void>;

/**
 * Reads messages until the connection ends. If the callback returns a promise, awaits it before the next message.
 * @param maxPayload the maximum length of a payload in bytes
 * @throws {Error} if a payload is longer
 */
export async function readWire(connection: Deno.Conn, maxPayload: number, onMessage: OnMessage): Promise<void> {
  const channels = new ChannelNames();
  let buffer = new Uint8Array(4 * INITIAL_BUFFER);
  let length = 0;
  while (true) {
    if (length === buffer.length) {
      const larger = new Uint8Array(buffer.length * 2);
      larger.set(buffer);
      buffer = larger;
    }
    let count: number | null;
    try {
      count = await connection.read(buffer.subarray(length));
    } catch {
      return;
    }
    if (count === null) return;
    length += count;
    let at = 0;
    while (length - at >= HEADER) {
      const size = (buffer[at]! | buffer[at + 1]! << 8 | buffer[at + 2]! << 16 | buffer[at + 3]! << 24) >>> 0;
      const end = at + 4 + size;
      const payloadAt = at + HEADER + (buffer[at + 5]! | buffer[at + 6]! << 8);
      const payloadLength = end - payloadAt;
      if (payloadLength > maxPayload) throw new Error(`a frame of ${payloadLength} bytes is longer than ${maxPayload}`);
      if (end > length) break;
      const channel = channels.read(buffer, at + HEADER, payloadAt);
      const done = onMessage(buffer[at + 4]!, channel, buffer.subarray(payloadAt, end), buffer.subarray(at, end));
      if (done !== undefined) await done;
      at = end;
    }
    if (at > 0) buffer.copyWithin(0, at, length);
    length -= at;
  }
}

/** Decodes channel names. Keeps the last one, because most messages of a burst have the same channel. */
class ChannelNames {
  #bytes = EMPTY;
  #name = "";

  read(buffer: Uint8Array<ArrayBuffer>, start: number, end: number): string {
    if (!this.#same(buffer, start, end)) {
      this.#bytes = buffer.slice(start, end);
      this.#name = decoder.decode(this.#bytes);
    }
    return this.#name;
  }

  #same(buffer: Uint8Array, start: number, end: number): boolean {
    const bytes = this.#bytes;
    if (bytes.length !== end - start) return false;
    for (let i = 0; i < bytes.length; i++) if (bytes[i] !== buffer[start + i]) return false;
    return true;
  }
}
