/**
 * TCP and TLS connections: pull-based reads, bounded memory, every wait limited by a signal. By default the certificate
 * is not verified, so that an endpoint with a bad one can still be examined.
 *
 * node:tls, because Deno.connectTls shows neither the peer's chain nor session resumption and cannot continue with an
 * untrusted certificate (measured on Deno 2.9.6; node:tls gives the chain in the order in which it was sent).
 * @module
 */
import { Buffer } from "node:buffer";
import { connect as connectSocket, isIP, type Socket } from "node:net";
import { connect as connectSecure, type DetailedPeerCertificate, rootCertificates, type TLSSocket } from "node:tls";
import { publicRootsKnown } from "../tls/x509/find_issuer.ts";
import { untilAborted } from "./deadline.ts";

/** Where a connection goes. */
export interface Endpoint {
  /** An address, or a name to resolve. */
  readonly hostname: string;
  readonly port: number;
}

/** Bytes that are buffered before the socket is paused. */
const HIGH_WATER_MARK = 256 * 1024;

/** How many certificates of a chain are read at most. */
const MAX_CERTIFICATES = 16;

/** A byte stream to a peer. One reader at a time. */
export class RawConnection {
  readonly #socket: Socket;
  readonly #chunks: Uint8Array[] = [];
  #buffered = 0;
  #ended = false;
  #error: Error | undefined;
  #wake: (() => void) | undefined;
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      this.#chunks.push(new Uint8Array(chunk));
      this.#buffered += chunk.length;
      if (this.#buffered > HIGH_WATER_MARK) socket.pause();
      this.#wake?.();
    });
    socket.on("error", (error: Error) => {
      this.#error ??= error;
      this.#wake?.();
    });
    socket.on("end", () => {
      this.#ended = true;
      this.#wake?.();
    });
    socket.on("close", () => {
      this.#ended = true;
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** The error that ended the connection, if one did. */
  get error(): Error | undefined {
    return this.#error;
  }

  /**
   * The next bytes, or undefined once the peer has ended the connection or it broke (`error` then says how).
   * @throws the signal's reason when it aborts first
   */
  async read(signal: AbortSignal): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && !this.#ended && this.#error === undefined) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      try {
        await untilAborted(signal, promise);
      } finally {
        this.#wake = undefined;
      }
    }
    signal.throwIfAborted();
    const chunk = this.#chunks.shift();
    if (chunk === undefined) return undefined;
    this.#buffered -= chunk.length;
    if (this.#buffered <= HIGH_WATER_MARK && this.#socket.isPaused()) this.#socket.resume();
    return chunk;
  }

  /**
   * Writes, and waits until the socket took it. A broken connection is no error here: the next read reports it.
   * @throws the signal's reason when it aborts first
   */
  async write(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    if (this.#closed || this.#error !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("close", resolve);
    this.#socket.write(bytes, () => resolve());
    try {
      await untilAborted(signal, promise);
    } finally {
      this.#socket.off("close", resolve);
    }
  }

  /** Ends the connection at once and waits until its descriptor is free. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#socket.once("close", () => resolve());
    this.#socket.destroy();
    await promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** How to make a TLS connection. */
export interface TlsOptions {
  /** The name sent as SNI. None: no SNI, as for addresses. */
  readonly serverName?: string;
  /**
   * Further authorities to trust, PEM. With them `chain` is no longer what was sent (the root is added) and sessions
   * are not resumed, so give them only to read `verifyError`. An empty list trusts no authority, adds nothing to the
   * chain and makes a full handshake (measured on Deno 2.9.6).
   */
  readonly ca?: readonly string[];
  /** Offered by ALPN. Default: http/1.1, as browsers do for WebSocket. Empty: no ALPN. */
  readonly alpn?: readonly string[];
  /** Refuse a peer whose certificate is not trusted, or not for the name. Default: no verification. */
  readonly verify?: true;
  /** A session to resume. Deno also resumes sessions of the same process by itself. */
  readonly session?: Uint8Array;
}

/** A TLS connection and what its handshake showed. */
export class TlsConnection extends RawConnection {
  readonly #tls: TLSSocket;

  constructor(socket: TLSSocket) {
    super(socket);
    this.#tls = socket;
  }

  /** `TLSv1.2` or `TLSv1.3`. */
  get version(): string {
    return this.#tls.getProtocol() ?? "TLS";
  }

  get cipher(): string {
    return this.#tls.getCipher().standardName;
  }

  /** The protocol chosen by ALPN. */
  get alpn(): string | undefined {
    return this.#tls.alpnProtocol || undefined;
  }

  get resumed(): boolean {
    return this.#tls.isSessionReused();
  }

  /** The session, to be resumed in another connection; in TLS 1.3 it comes after the handshake. */
  get session(): Uint8Array | undefined {
    return this.#tls.getSession();
  }

  /** Why the runtime does not trust the peer, as an OpenSSL code; undefined where it does. */
  get verifyError(): string | undefined {
    return this.#tls.authorized ? undefined : String(this.#tls.authorizationError ?? "unknown");
  }

  /** The chain as it was sent, DER, leaf first. */
  get chain(): Uint8Array<ArrayBuffer>[] {
    const chain: Uint8Array<ArrayBuffer>[] = [];
    let next: DetailedPeerCertificate | undefined = this.#tls.getPeerCertificate(true);
    while (next?.raw !== undefined && chain.length < MAX_CERTIFICATES) {
      chain.push(new Uint8Array(next.raw));
      // A self-signed certificate at the end is its own issuer.
      next = next.issuerCertificate === next ? undefined : next.issuerCertificate;
    }
    return chain;
  }
}

/**
 * Opens a TCP connection.
 * @throws {Error} with `code` ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH …, or the signal's reason
 */
export async function connectTcp(endpoint: Endpoint, signal: AbortSignal): Promise<RawConnection> {
  signal.throwIfAborted();
  const socket = connectSocket({ host: endpoint.hostname, port: endpoint.port, noDelay: true });
  const connection = new RawConnection(socket);
  await established(socket, "connect", connection, signal);
  return connection;
}

/**
 * Opens a TLS connection.
 * @throws {Error} when TCP or TLS fails, or the signal's reason
 */
export async function connectTls(
  endpoint: Endpoint,
  options: TlsOptions,
  signal: AbortSignal,
): Promise<TlsConnection> {
  signal.throwIfAborted();
  const { serverName, ca, alpn = ["http/1.1"], session, verify = false } = options;
  const roots = publicRootsKnown() ? rootCertificates : [];
  const socket = connectSecure({
    host: endpoint.hostname,
    port: endpoint.port,
    rejectUnauthorized: verify,
    // An empty name sends none; without the option the address itself would be taken for the name.
    servername: serverName === undefined || isIP(serverName) !== 0 ? "" : serverName,
    ...(ca === undefined ? {} : { ca: ca.length === 0 ? [] : [...roots, ...ca] }),
    ...(alpn.length === 0 ? {} : { ALPNProtocols: [...alpn] }),
    ...(session === undefined ? {} : { session: Buffer.from(session) }),
  });
  const connection = new TlsConnection(socket);
  await established(socket, "secureConnect", connection, signal);
  return connection;
}

async function established(
  socket: Socket,
  event: "connect" | "secureConnect",
  connection: RawConnection,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.once(event, resolve);
  socket.once("error", reject);
  socket.once("close", () => reject(connection.error ?? new Error("the connection was closed during the handshake")));
  try {
    await untilAborted(signal, promise);
  } catch (error) {
    await connection.close();
    throw error;
  }
}
