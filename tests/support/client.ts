/**
 * Deno's own WebSocket, with methods to await messages.
 *
 *     await using client = await Client.open(program.url, { ca: program.ca });
 *     client.send("tom");
 *     assertEquals(await client.next(), "ok");
 * @module
 */
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
loadFfi();

/** Options of a connection. */
export interface ClientOptions {
  /** The path of a certificate to trust. */
  readonly ca?: string;
  /** The PEM of a certificate to trust, instead of a path. */
  readonly pem?: string;
  /** A unix socket to connect through; the URL then names only Host and path. */
  readonly unix?: string;
  readonly protocols?: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
}

/** How a connection ended. */
export interface Closed {
  readonly code: number;
  readonly reason: string;
}

/** A connected client. Disposing of it closes it. */
export class Client implements AsyncDisposable {
  readonly socket: WebSocket;
  readonly closed: Promise<Closed>;
  readonly #received: (string | ArrayBuffer)[] = [];
  readonly #waiting: PromiseWithResolvers<string | ArrayBuffer>[] = [];
  #ended = false;

  private constructor(socket: WebSocket, http: Deno.HttpClient) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }: MessageEvent<string | ArrayBuffer>) => {
      const next = this.#waiting.shift();
      if (next) next.resolve(data);
      else this.#received.push(data);
    });
    const { promise, resolve } = Promise.withResolvers<Closed>();
    this.closed = promise;
    socket.addEventListener("close", ({ code, reason }) => {
      this.#ended = true;
      http.close();
      for (const { reject } of this.#waiting) reject(new Error(`closed with ${code} ${reason} before a message`));
      resolve({ code, reason });
    });
  }

  /** Connects. @throws {Error} if the service refuses the handshake or cannot be reached */
  static async open(url: string, options: ClientOptions = {}): Promise<Client> {
    const { ca, pem, unix, protocols = [], headers = {} } = options;
    const http = Deno.createHttpClient({
      ...(ca === undefined && pem === undefined ? {} : { caCerts: [pem ?? await Deno.readTextFile(ca!)] }),
      ...(unix === undefined ? {} : { proxy: { transport: "unix", path: unix } }),
    });
    const socket = new WebSocket(url, { client: http, protocols: [...protocols], headers });
    const client = new Client(socket, http);
    const { promise, resolve, reject } = Promise.withResolvers<Client>();
    socket.addEventListener("open", () => resolve(client));
    socket.addEventListener("error", (event) => reject(new Error((event as ErrorEvent).message)));
    return await promise;
  }

  send(data: string | ArrayBuffer | Uint8Array<ArrayBuffer>): void {
    this.socket.send(data);
  }

  /** Waits for the next message. @throws {Error} if the connection ends first */
  next(): Promise<string | ArrayBuffer> {
    const received = this.#received.shift();
    if (received !== undefined) return Promise.resolve(received);
    if (this.#ended) return Promise.reject(new Error("closed, and every message was read"));
    const waiting = Promise.withResolvers<string | ArrayBuffer>();
    this.#waiting.push(waiting);
    return waiting.promise;
  }

  /** Reads messages until one matches, and returns it. */
  async until(pattern: RegExp): Promise<string> {
    while (true) {
      const message = await this.next();
      if (typeof message === "string" && pattern.test(message)) return message;
    }
  }

  /** Sends a message and waits for the next one. */
  async ask(data: string | ArrayBuffer | Uint8Array<ArrayBuffer>): Promise<string | ArrayBuffer> {
    this.send(data);
    return await this.next();
  }

  /** Closes the connection and waits until it has ended. */
  async close(code = 1000, reason = ""): Promise<Closed> {
    if (!this.#ended) this.socket.close(code, reason);
    return await this.closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
