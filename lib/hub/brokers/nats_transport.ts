/**
 * A transport for the NATS client on Deno's TCP and TLS connections. The client's Node transport throws an uncaught
 * ECONNRESET on a refused login, and its WebSocket transport stalls (measured).
 * @module
 */
import {
  checkOptions,
  type ConnectionOptions,
  DataBuffer,
  deferred,
  errors,
  extractProtocolMessage,
  INFO,
  type Server,
  type Transport,
} from "@nats-io/nats-core/internal";

const READ_SIZE = 256 * 1024;
/** Bytes waiting to be written beyond which `full` is true. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;

/** The TLS handshake failed. */
export class TlsFailure extends Error {
  override readonly name = "TlsFailure";
}

/** Additional connection options of this transport. The client passes them on. */
export interface TransportOptions extends ConnectionOptions {
  /** Certificates of authorities (PEM) to trust in addition to Deno's. */
  readonly ca: readonly string[];
  /** Gives up opening the connection. */
  readonly signal: AbortSignal;
  /** Called with each transport before it connects. */
  onCreate(transport: DenoTransport): void;
}

/** One connection to a NATS server. */
export class DenoTransport implements Transport {
  readonly lang = "deno";
  readonly version = "1";
  closeError?: Error;
  readonly #closed = deferred<void | Error>();
  #connection: Deno.TcpConn | Deno.TlsConn | undefined;
  #encrypted = false;
  #done = false;
  /** The bytes that were read together with INFO. */
  #first = new Uint8Array(0);
  #waiting: Uint8Array[] = [];
  #bytes = 0;
  /** Bytes received. */
  received = 0;
  /** Bytes sent while others had to wait. */
  #sentUnderPressure = 0;
  #writing = false;
  /** Resolves when nothing waits to be written. */
  #written: Promise<void> | undefined;

  async connect(server: Server, options: ConnectionOptions): Promise<void> {
    const { ca, signal, onCreate } = options as TransportOptions;
    const { hostname, port } = server;
    onCreate(this);
    const plain = await Deno.connect({ hostname, port, signal });
    this.#connection = plain;
    if (this.#done) return plain.close();
    plain.setNoDelay(true);
    const { bytes, info } = await readInfo(plain);
    checkOptions(info, options);
    if (!info.tls_required && !options.tls) {
      this.#first = bytes;
      return;
    }
    try {
      const secure = await Deno.startTls(plain, { hostname: server.tlsName || hostname, caCerts: [...ca] });
      this.#connection = secure;
      await secure.handshake();
    } catch (cause) {
      throw new TlsFailure((cause as Error).message, { cause });
    }
    this.#first = bytes;
    this.#encrypted = true;
  }

  get isClosed(): boolean {
    return this.#done;
  }

  /** Grows whenever the server sends something or reads some of the waiting bytes. */
  get progress(): number {
    return this.received + this.#sentUnderPressure;
  }

  /** Whether the send buffer is full. */
  get full(): boolean {
    return this.#bytes > MAX_WAITING_BYTES;
  }

  isEncrypted(): boolean {
    return this.#encrypted;
  }

  async *[Symbol.asyncIterator](): AsyncIterableIterator<Uint8Array> {
    let reason: Error | undefined;
    yield this.#first;
    try {
      const buffer = new Uint8Array(READ_SIZE);
      for (let n = await this.#connection!.read(buffer); n !== null; n = await this.#connection!.read(buffer)) {
        this.received += n;
        // The parser may keep the beginning of a message.
        yield buffer.slice(0, n);
      }
    } catch (error) {
      reason = error as Error;
    }
    this.#end(reason);
  }

  send(frame: Uint8Array): void {
    if (this.#done) return;
    this.#waiting.push(frame);
    this.#bytes += frame.length;
    if (!this.#writing) this.#written = this.#write();
  }

  async close(error?: Error): Promise<void> {
    // After an error nothing more can be sent, so the waiting bytes are discarded.
    if (!error && !this.#done && this.#connection) await this.#written;
    this.#end(error);
  }

  disconnect(): void {
    this.#end();
  }

  closed(): Promise<void | Error> {
    return this.#closed;
  }

  discard(): void {}

  async #write(): Promise<void> {
    this.#writing = true;
    try {
      while (this.#waiting.length > 0 && !this.#done) {
        const parts = this.#waiting;
        this.#waiting = [];
        const bytes = parts.length === 1 ? parts[0]! : DataBuffer.concat(...parts);
        for (let written = 0; written < bytes.length;) {
          const n = await this.#connection!.write(bytes.subarray(written));
          written += n;
          this.#bytes -= n;
          // A write that the kernel buffers at once does not prove that the server reads.
          if (this.#bytes > 0) this.#sentUnderPressure += n;
        }
      }
    } catch (error) {
      this.#end(error as Error);
    }
    // Not when the promise has resolved: a frame that is sent in between would wait until the next one is sent.
    this.#writing = false;
  }

  #end(error?: Error): void {
    if (this.#done) return;
    this.#done = true;
    this.closeError = error;
    this.#waiting = [];
    try {
      this.#connection?.close();
    } catch {
      // startTls has consumed the plain connection.
    }
    this.#closed.resolve(error);
  }
}

/** Reads the server's INFO. */
async function readInfo(connection: Deno.TcpConn) {
  let bytes = new Uint8Array(0);
  const buffer = new Uint8Array(READ_SIZE);
  for (;;) {
    const n = await connection.read(buffer);
    if (n === null) throw new errors.ConnectionError("the server closed the connection before it sent INFO");
    bytes = DataBuffer.concat(bytes, buffer.subarray(0, n)) as Uint8Array<ArrayBuffer>;
    const line = extractProtocolMessage(bytes);
    const info = line === "" ? null : INFO.exec(line);
    if (info !== null) return { bytes, info: JSON.parse(info[1]!) };
    if (line !== "" || bytes.length > 65_536) throw new errors.ConnectionError("this is not a NATS server");
  }
}
