/**
 * A real wss client (`npm:ws`) for tests of proxies. It sends the name `localhost` but connects to a given address, so
 * that the client's address (`::1`) differs from the proxy's (`127.0.0.1`).
 */
import WebSocket from "ws";

/** An open connection. */
export interface Client {
  send(data: string | Uint8Array): void;
  /** Returns the next message: text, or bytes. Rejects if the connection ends first. */
  next(): Promise<string | Uint8Array>;
  /** Resolves with the close code when the connection has ended. */
  readonly closed: Promise<number>;
  /** Starts the close handshake. Resolves with the close code when the connection has ended. */
  close(): Promise<number>;
}

interface Socket {
  on(event: string, listener: (...args: never[]) => void): void;
  send(data: string | Uint8Array): void;
  close(code: number): void;
  terminate(): void;
}

export interface ClientOptions {
  /** PEM text of the authority. */
  readonly ca: string;
  readonly port: number;
  readonly path?: string;
  readonly headers?: Record<string, string>;
  /** Default `::1`. */
  readonly address?: "::1" | "127.0.0.1";
}

/** Connects. Rejects with the HTTP status if the upgrade is refused. */
export async function connect(
  { ca, port, path = "/wss", headers = {}, address = "::1" }: ClientOptions,
): Promise<Client> {
  const family = address === "::1" ? 6 : 4;
  type Found = (error: null, address: unknown, family?: number) => void;
  const lookup = (_host: string, { all }: { all?: boolean }, found: Found) =>
    all ? found(null, [{ address, family }]) : found(null, address, family);
  const socket: Socket = new WebSocket(`wss://localhost:${port}${path}`, {
    ca,
    headers,
    lookup,
    perMessageDeflate: false,
    maxPayload: 64 * 1024 ** 2,
  });
  const queue: (string | Uint8Array)[] = [];
  let waiting: PromiseWithResolvers<string | Uint8Array> | undefined;
  const closed = Promise.withResolvers<number>();
  socket.on("message", (data: Uint8Array, isBinary: boolean) => {
    const message = isBinary ? data : new TextDecoder().decode(data);
    if (waiting === undefined) return void queue.push(message);
    waiting.resolve(message);
    waiting = undefined;
  });
  socket.on("close", (code: number) => {
    closed.resolve(code);
    waiting?.reject(new Error(`closed with ${code} before a message arrived`));
  });
  await new Promise<void>((resolve, reject) => {
    socket.on("open", resolve);
    socket.on("error", reject);
  });
  return {
    send: (data) => socket.send(data),
    next() {
      const message = queue.shift();
      if (message !== undefined) return Promise.resolve(message);
      waiting = Promise.withResolvers();
      return waiting.promise;
    },
    closed: closed.promise,
    async close() {
      socket.close(1000);
      return await closed.promise;
    },
  };
}
