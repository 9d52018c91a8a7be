/**
 * The interface of an app: the hooks of crossws, which h3, Nitro and Nuxt also use, so that an app runs unchanged in each.
 * @module
 */
import type { ServiceCalls } from "../hub/service_calls.ts";

/** The result of `send`: `false` asks the app to wait for `drain`. Peers of other servers return the other types. */
export type SendResult = boolean | number | void | undefined;

/** Options of `waitForDrain`. */
export interface WaitForDrainOptions {
  /** Bytes at or below which the wait ends. Default 0. */
  threshold?: number;
  /** Milliseconds between two measurements; Deno has no event for an empty buffer. Default 100. */
  pollInterval?: number;
  /** Aborts the wait. */
  signal?: AbortSignal;
}

/** One connected client. */
export interface Peer {
  /** A random UUID whose last group is the id of the peer's node. */
  readonly id: string;
  /** The user: the `user` that `upgrade` returned, or else the `sub` of the JWT. One user may have many peers. */
  readonly user?: string | undefined;
  /** The client's address, also behind a trusted proxy. Undefined only on a unix socket without a forwarding header. */
  readonly remoteAddress: string | undefined;
  /** The upgrade request: its URL and headers. */
  readonly request: Request;
  /** Data of the app for this peer. Initially the `context` that `upgrade` returned. */
  readonly context: Record<string, unknown>;
  /** The negotiated subprotocol, or an empty string. */
  readonly protocol?: string;
  /** Bytes that were passed to `send` and not yet to the network. */
  readonly bufferedAmount: number;
  /**
   * The WebSocket members that crossws libraries use: `send`, `close`, `readyState`, `url`, `protocol`, `bufferedAmount`.
   * It emits no events; use the hooks.
   */
  readonly websocket: object;
  /** The topics that the peer is subscribed to. */
  readonly topics: Set<string>;
  /** The scope of topics and `peers`: the `namespace` that `upgrade` returned, or else the path of the URL. */
  readonly namespace: string;
  /** All open peers of the namespace, this one included. A new set on each access, so do not read it for each message. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Sends text as text, bytes and a Blob as binary, anything else as JSON text. Never blocks and never throws for a peer
   * that has disconnected. Throws a TypeError for values that cannot be sent (a Map, a stream, a function). Returns `false`
   * if the buffer exceeds half of `maxBackpressure`: then wait for `drain`.
   */
  send(data: unknown): SendResult;
  /**
   * Waits until `bufferedAmount` is at or below `threshold`, or the peer is no longer open.
   * @throws the reason of `signal`, once it is aborted
   */
  waitForDrain(options?: WaitForDrainOptions): Promise<void>;
  /** Starts the close handshake. A code that is not allowed in a close frame is replaced by 1000 and logged. */
  close(code?: number, reason?: string): void;
  /** Ends the connection at once, without a close handshake. */
  terminate(): void;
  /** Subscribes the peer to a topic of its namespace. */
  subscribe(topic: string): void;
  /** Unsubscribes the peer from a topic. */
  unsubscribe(topic: string): void;
  /** Sends to every other subscriber of the topic on all nodes, but not to this peer. At most once, in order. */
  publish(topic: string, data: unknown): void;
}

/** One message, text or binary. */
export interface Message {
  /** A random UUID. */
  readonly id: string;
  /** The sender. */
  readonly peer?: Peer;
  /** The data as received: a string or an ArrayBuffer. */
  readonly rawData: unknown;
  /** The text, or the bytes decoded as UTF-8. */
  text(): string;
  /**
   * Parses the text as JSON.
   * @throws {SyntaxError} if the text is not JSON
   */
  json<T = unknown>(): T;
  /** The bytes, or the text encoded as UTF-8. */
  uint8Array(): Uint8Array;
  /** The bytes as an ArrayBuffer. */
  arrayBuffer(): ArrayBuffer | SharedArrayBuffer;
  /** The bytes as a Blob. */
  blob(): Blob;
}

/** The request that `upgrade` gets: a copy without the token. Its signal aborts when the client disconnects. */
export type UpgradeRequest = Request & {
  /** Its entries become entries of `peer.context`. */
  readonly context?: Record<string, unknown>;
};

/** The result of `upgrade` that accepts the connection. */
export interface UpgradeResult {
  /** Additional headers of the 101 response. */
  headers?: HeadersInit;
  /** The subprotocol, one of those that the client offered. */
  protocol?: string;
  /** Its entries become those of `peer.context`. */
  context?: Record<string, unknown>;
  /** The value of `peer.namespace`. Default: the path of the URL. */
  namespace?: string;
  /** The value of `peer.user`. */
  user?: string;
}

/** A value or a promise of it. */
export type Awaitable<T> = T | Promise<T>;

/**
 * The hooks of an app, all optional. An exception in a hook closes its peer with 1011, is logged, and is passed to `error`.
 * `close` runs exactly once for each `open`.
 */
export interface App {
  /** Runs before the handshake is answered. Returning or throwing a Response (or an error with `response`) refuses it. */
  upgrade?(request: UpgradeRequest): Awaitable<UpgradeResult | Response | void>;
  /** The connection is open. */
  open?(peer: Peer): Awaitable<void>;
  /** A message arrived. */
  message?(peer: Peer, message: Message): Awaitable<void>;
  /** The connection ended. `code` is 1005 if the client sent none, 1006 if the connection ended without a close frame. */
  close?(peer: Peer, details: { code?: number; reason?: string }): Awaitable<void>;
  /** Another hook of this peer threw, or a Blob that it was sent could not be read. */
  error?(peer: Peer, error: Error): Awaitable<void>;
  /** The buffer is empty again after `send` returned false. */
  drain?(peer: Peer): Awaitable<void>;
}

/** An app with the additional hooks of this service. */
export interface ServiceApp extends App {
  /**
   * Messages from other nodes may have been missed on these topics, because the broker was unreachable or messages were
   * lost. Peers of this node are subscribed to the topics. Called once per affected namespace, and again when further
   * messages are found missing.
   */
  gap?(topics: readonly string[], details: GapDetails): Awaitable<void>;
}

/** Details of a gap. */
export interface GapDetails {
  /** The namespace of the topics. Empty: all namespaces, to which `publish` of the service sends by default. */
  readonly namespace: string;
}

/**
 * Creates an app that uses the calls of the service, which reach peers, users and topics on all nodes. Called once, before
 * the service starts.
 */
export type AppFactory = (service: ServiceCalls) => ServiceApp;

/**
 * An app of h3 2 or Nitro. Its fetch handler returns the hooks of the matching route on the response (`crossws`) or on the
 * request (`Symbol.for("crossws.hooks")`).
 */
export interface FetchApp {
  /** Handles a request. The hooks of an upgrade are on the response or the request. */
  fetch(request: Request): unknown;
}

/**
 * Types an app, and returns it unchanged.
 *
 * @example
 * ```ts
 * import { defineApp } from "@wss/wss";
 *
 * export default defineApp({
 *   message(peer, message) {
 *     peer.send(message.text());
 *   },
 * });
 * ```
 */
export function defineApp<A extends ServiceApp>(app: A): A;
/**
 * Types a function that creates an app with the calls of the service, and returns it unchanged.
 *
 * @example
 * ```ts
 * import { defineApp } from "@wss/wss";
 *
 * export default defineApp((service) => ({
 *   async message(peer, message) {
 *     const { users } = await service.presence(message.text());
 *     peer.send(users);
 *   },
 * }));
 * ```
 */
export function defineApp<F extends AppFactory>(factory: F): F;
export function defineApp<T extends ServiceApp | AppFactory>(app: T): T {
  return app;
}
