/**
 * NATS as a broker. No file imports this one statically: it is loaded only if `--broker` selects it, so that a service
 * without a broker downloads no client.
 * @module
 */
import {
  AuthorizationError,
  type ConnectionOptions,
  credsAuthenticator,
  NatsConnectionImpl,
  setTransportFactory,
  type Subscription,
} from "@nats-io/nats-core/internal";
import { messageOf } from "../../errors.ts";
import type { Deliver } from "../broker.ts";
import { DenoTransport, TlsFailure, type TransportOptions } from "./nats_transport.ts";
import { type Connect, PendingFlushes, type Session } from "./reconnect.ts";
import { type BrokerServer, type BrokerTarget, type Credentials, hostAndPort } from "./broker_url.ts";

setTransportFactory({ factory: () => new DenoTransport() });

/** Returns a function that opens sessions with one server of a target. */
export function natsSessions(
  server: BrokerServer,
  { tls, credentials }: BrokerTarget,
  ca: readonly string[],
): Connect {
  return async (problem, signal) => {
    let transport: DenoTransport | undefined;
    const abandon = () => transport?.disconnect();
    signal.addEventListener("abort", abandon);
    const options: TransportOptions = {
      servers: hostAndPort(server),
      name: "wss",
      noEcho: true,
      // ReconnectingBroker does both, and distinguishes a hanging server from a stall of this process.
      reconnect: false,
      pingInterval: 2 ** 30,
      ignoreClusterUpdates: true,
      ...(tls ? { tls: {} } : {}),
      ...authentication(credentials),
      ca,
      signal,
      onCreate: (fresh) => {
        transport = fresh;
        if (signal.aborted) fresh.disconnect();
      },
    };
    try {
      const connection = await NatsConnectionImpl.connect(options);
      return new NatsSession(connection as NatsConnectionImpl, transport!, problem);
    } catch (error) {
      throw new Error(explain(error), { cause: error });
    } finally {
      signal.removeEventListener("abort", abandon);
    }
  };
}

function authentication(credentials: Credentials | undefined): ConnectionOptions {
  if (credentials === undefined) return {};
  if ("creds" in credentials) return { authenticator: credsAuthenticator(new TextEncoder().encode(credentials.creds)) };
  return "token" in credentials ? credentials : { user: credentials.user, pass: credentials.password };
}

function explain(error: unknown): string {
  if (error instanceof AuthorizationError) return `authentication failed (${error.message})`;
  if (error instanceof TlsFailure) return `TLS failed: ${error.message}`;
  if (messageOf(error).includes("does not support 'tls'")) {
    return "TLS failed: the server uses NATS without TLS (nats://)";
  }
  return `it cannot be reached: ${messageOf(error)}`;
}

class NatsSession implements Session {
  readonly ended: Promise<string>;
  readonly #connection: NatsConnectionImpl;
  readonly #transport: DenoTransport;
  readonly #subscriptions = new Map<string, Subscription>();
  readonly #problem: (message: string) => void;
  readonly #flushes = new PendingFlushes();
  #reason: string | undefined;
  /** The last error that the server reported, and the bytes received until then. */
  #lastError: { readonly message: string; readonly received: number } | undefined;

  constructor(connection: NatsConnectionImpl, transport: DenoTransport, problem: (message: string) => void) {
    this.#connection = connection;
    this.#transport = transport;
    this.#problem = problem;
    this.ended = connection.closed().then(() => {
      const reason = this.#reason ?? this.#fatalError ?? this.#closeReason;
      this.#flushes.end(reason);
      return reason;
    });
    this.#watch();
  }

  /**
   * The error that ended the connection: the server sends nothing after it. Any other error, for example a missing
   * permission, does not explain the end. The client does not distinguish them.
   */
  get #fatalError(): string | undefined {
    return this.#lastError?.received === this.#transport.received ? this.#lastError?.message : undefined;
  }

  get #closeReason(): string {
    const { closeError } = this.#transport;
    return closeError ? messageOf(closeError) : "the server closed the connection";
  }

  get maxFrame(): number {
    return this.#connection.info?.max_payload ?? 0;
  }

  get progress(): number {
    return this.#transport.progress;
  }

  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
    // The transport is closed before the client notices.
    if (
      frame.length > this.maxFrame || this.#transport.isClosed || this.#transport.full || this.#connection.isClosed()
    ) return false;
    this.#connection.publish(channel, frame);
    return true;
  }

  subscribe(channel: string, deliver: Deliver): void {
    if (this.#connection.isClosed()) return;
    const subscription = this.#connection.subscribe(channel, {
      callback: (error, message) => {
        // #watch reports errors.
        if (error === null) deliver(message.data as Uint8Array<ArrayBuffer>);
      },
    });
    this.#subscriptions.set(channel, subscription);
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.get(channel)?.unsubscribe();
    this.#subscriptions.delete(channel);
  }

  async flush(): Promise<void> {
    // The client never settles flush() if the connection ends before the PONG.
    await this.#flushes.wait(this.#connection.flush());
  }

  abort(reason: string): void {
    this.#reason ??= reason;
    this.#transport.disconnect();
  }

  async #watch(): Promise<void> {
    for await (const status of this.#connection.status()) {
      if (status.type === "error") {
        const { message } = status.error;
        this.#lastError = { message, received: this.#transport.received };
        this.#problem(message);
      } else if (status.type === "ldm") {
        // "Lame duck mode": the server is about to stop. Reconnect to another server, or to this one after its restart.
        this.abort("the server is shutting down");
      }
    }
  }
}
