/**
 * What an app is: the hooks of crossws (which h3, Nitro and Nuxt speak), so that an app moves between them unchanged.
 * @module
 */
import type { ServiceCalls } from "../hub/service_calls.ts";

/** What `send` tells: `false` asks the app to wait for `drain`. The other types are what other servers' peers return. */
export type SendResult = boolean | number | void | undefined;

/** How `waitForDrain` waits. */
export interface WaitForDrainOptions {
  /** Bytes. Default 0. */
  threshold?: number;
  /** Milliseconds between two measurements: Deno fires nothing when a buffer empties. Default 100. */
  pollInterval?: number;
  /** Ends the wait. */
  signal?: AbortSignal;
}

/** One connected client, as an app sees it. */
export interface Peer {
  /** A UUID: random, but for its last group, which is the id of its node. */
  readonly id: string;
  /** Who it is: what `upgrade` returned as `user`, else the `sub` of its JWT. One user may have many peers. */
  readonly user?: string | undefined;
  /** The client's own address, also behind a trusted proxy. Undefined only behind a unix socket without a header. */
  readonly remoteAddress: string | undefined;
  /** The request that was upgraded: its URL and headers. */
  readonly request: Request;
  /** Anything the app keeps with this peer; begins with the entries of what `upgrade` returned. */
  readonly context: Record<string, unknown>;
  /** The chosen subprotocol; empty where there is none. */
  readonly protocol?: string;
  /** Bytes that `send` took and the network has not. */
  readonly bufferedAmount: number;
  /**
   * What libraries for crossws use of a WebSocket: `send`, `close`, `readyState`, `url`, `protocol`, `bufferedAmount`.
   * Events come as hooks.
   */
  readonly websocket: object;
  /** The topics it is subscribed to. */
  readonly topics: Set<string>;
  /** Its topics and `peers` are those of its namespace: what `upgrade` returned, else the path of its URL. */
  readonly namespace: string;
  /** All open peers of its namespace, itself too: collected anew each time, so ask once and not for each message. */
  readonly peers: ReadonlySet<Peer>;
  /**
   * Sends text as text, bytes and a Blob as binary, anything else as JSON text. Never blocks and never throws for a peer
   * that has gone; throws a TypeError for what cannot be sent (a Map, a stream, a function). `false` once the buffer is over half of `maxBackpressure`: wait for `drain`.
   */
  send(data: unknown): SendResult;
  /**
   * Waits until `bufferedAmount` is at or below `threshold`, or the peer is no longer open.
   * @throws the reason of `signal`, once it is aborted
   */
  waitForDrain(options?: WaitForDrainOptions): Promise<void>;
  /** Begins the close handshake. A code that may not stand on the wire becomes 1000 and is logged. */
  close(code?: number, reason?: string): void;
  /** Ends the connection at once, without a close handshake. */
  terminate(): void;
  /** Subscribes it to a topic of its namespace. */
  subscribe(topic: string): void;
  /** Ends its subscription to a topic. */
  unsubscribe(topic: string): void;
  /** Sends to every other subscriber of the topic, on every node; never to this peer itself. At most once, in order. */
  publish(topic: string, data: unknown): void;
}

/** One message, text or binary. */
export interface Message {
  /** A random UUID. */
  readonly id: string;
  /** Who sent it. */
  readonly peer?: Peer;
  /** As it came: a string or an ArrayBuffer. */
  readonly rawData: unknown;
  /** The text, or bytes read as UTF-8. */
  text(): string;
  /**
   * The text, parsed as JSON.
   * @throws {SyntaxError} when it is not JSON
   */
  json<T = unknown>(): T;
  /** The bytes, or text as UTF-8. */
  uint8Array(): Uint8Array;
  /** The same as an ArrayBuffer. */
  arrayBuffer(): ArrayBuffer | SharedArrayBuffer;
  /** The same as a Blob. */
  blob(): Blob;
}

/** The request as `upgrade` sees it: a copy without a token, aborted when the client leaves. */
export type UpgradeRequest = Request & {
  /** What is written into it becomes an entry of `peer.context`. */
  readonly context?: Record<string, unknown>;
};

/** What `upgrade` may return in place of a refusal. */
export interface UpgradeResult {
  /** Further headers of the 101 response. */
  headers?: HeadersInit;
  /** The subprotocol, one of those that the client offered. */
  protocol?: string;
  /** Its entries become those of `peer.context`. */
  context?: Record<string, unknown>;
  /** Becomes `peer.namespace`; default: the path of the URL. */
  namespace?: string;
  /** Becomes `peer.user`. */
  user?: string;
}

/** A promise or not. */
export type Awaitable<T> = T | Promise<T>;

/**
 * An app: any of these hooks. An exception in a hook closes that peer with 1011 and goes to the log and to `error`.
 * `close` runs exactly once for each `open`.
 */
export interface App {
  /** Before the handshake is answered. A Response, returned or thrown (or thrown as an error's `response`), refuses it. */
  upgrade?(request: UpgradeRequest): Awaitable<UpgradeResult | Response | void>;
  /** The connection is open. */
  open?(peer: Peer): Awaitable<void>;
  /** A message came. */
  message?(peer: Peer, message: Message): Awaitable<void>;
  /** `code` is 1005 where the client gave none, 1006 where the connection ended without a close frame. */
  close?(peer: Peer, details: { code?: number; reason?: string }): Awaitable<void>;
  /** Another hook of this peer threw, or its connection broke. */
  error?(peer: Peer, error: Error): Awaitable<void>;
  /** Its buffered bytes fell to zero after `send` returned false. */
  drain?(peer: Peer): Awaitable<void>;
}

/** An app with the hook that other servers do not have. */
export interface ServiceApp extends App {
  /**
   * The broker was away, or messages were lost on their way: messages from other nodes on these topics, which peers of
   * this node are subscribed to, may have been missed. Called once for each namespace that is concerned, and again when
   * more is found to be missing.
   */
  gap?(topics: readonly string[], details: GapDetails): Awaitable<void>;
}

/** What goes with a gap. */
export interface GapDetails {
  /** Of which namespace the topics are; empty: of all, as the service's own `publish` has it. */
  readonly namespace: string;
}

/**
 * Makes an app that uses the service's calls, which reach peers, users and topics on every node. Called once, before
 * the service starts.
 */
export type AppFactory = (service: ServiceCalls) => ServiceApp;

/**
 * An app of h3 2 or Nitro: its fetch handler answers an upgrade request with the hooks of its route, on the response
 * (`crossws`) or on the request (`Symbol.for("crossws.hooks")`).
 */
export interface FetchApp {
  /** Answers a request; the hooks of an upgrade are on the response or the request. */
  fetch(request: Request): unknown;
}

/**
 * Gives an app its type; returns it unchanged.
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
 * Gives an app its type that is made with the service's calls.
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
