/**
 * Redis 6 or later as a broker, or Redis Cluster 7 or later with sharded pub/sub. No file imports this one statically: it
 * is loaded only if `--broker` selects it, so that a service without a broker downloads no client.
 * @module
 */
import { createClient, createCluster, ErrorReply } from "@redis/client";
import { messageOf } from "../../errors.ts";
import type { Deliver } from "../broker.ts";
import { type Connect, PendingFlushes, type Session } from "./reconnect.ts";
import type { BrokerServer, BrokerTarget, Credentials } from "./broker_url.ts";

/** The maximum number of published bytes that Redis has not confirmed. */
const MAX_WAITING_BYTES = 16 * 1024 * 1024;
/** Redis's defaults of client-output-buffer-limit pubsub and proto-max-bulk-len, used if they cannot be read. */
const DEFAULT_OUTPUT_LIMIT = 32 * 1024 * 1024;
const DEFAULT_BULK_LIMIT = 512 * 1024 * 1024;

type MessageListener = (message: Buffer<ArrayBuffer>) => void;

/** The pub/sub commands of one server or a cluster. */
interface PubSub {
  publish(channel: string, frame: Uint8Array): Promise<unknown>;
  subscribe(channel: string, listener: MessageListener): Promise<void>;
  unsubscribe(channel: string, listener: MessageListener): Promise<void>;
  ping(): Promise<unknown>;
  destroy(): void;
}

/** Returns a function that opens sessions with one server of a target, or with the cluster that it is a member of. */
export function redisSessions(server: BrokerServer, target: BrokerTarget, ca: readonly string[]): Connect {
  return async (problem, signal) => {
    try {
      return await connect(server, target, ca, problem, signal);
    } catch (error) {
      throw new Error(explain(error), { cause: error });
    }
  };
}

function explain(error: unknown): string {
  const message = messageOf(error);
  const { code = "" } = (error ?? {}) as { code?: string };
  if (/^(?:WRONGPASS|NOAUTH|ERR AUTH)|invalid password/i.test(message)) return `authentication failed (${message})`;
  if (/^NOPERM/.test(message)) return `a permission is missing (${message})`;
  if (/certificate|tls|ssl|handshake/i.test(message) || /CERT|TLS|SSL/.test(code)) return `TLS failed: ${message}`;
  return `it cannot be reached: ${message || code}`;
}

/** The common interface of a client and a cluster client. */
interface Connecting {
  connect(): Promise<unknown>;
  destroy(): void;
  on(event: string, listener: (error: unknown) => void): unknown;
}

async function connect(
  { hostname: host, port }: BrokerServer,
  target: BrokerTarget,
  ca: readonly string[],
  problem: (message: string) => void,
  signal: AbortSignal,
): Promise<Session> {
  // The signal also closes a connection that is being opened, which a client that is destroyed meanwhile forgets.
  const closing = new AbortController();
  const clients: Connecting[] = [];
  const close = () => {
    for (const client of clients) client.destroy();
    closing.abort();
  };
  const shared = {
    ...authentication(target.credentials),
    // ReconnectingBroker reconnects and probes the server.
    disableOfflineQueue: true,
    disableClientInfo: true,
    maintNotifications: "disabled",
    commandOptions: { timeout: 0 },
  } as const;
  const socket = {
    reconnectStrategy: false,
    signal: closing.signal,
    ...(target.tls ? { tls: true, ...(ca.length > 0 ? { ca: [...ca] } : {}) } : {}),
  } as const;
  signal.addEventListener("abort", close);
  try {
    const client = clientOf({ ...shared, socket: { ...socket, host, port } as never });
    clients.push(client);
    const failed = await establish(client, ["error", "end"]);
    const maxFrame = await frameLimit(client);
    if (!await isCluster(client)) return new RedisSession(pubSubOf(client, close), failed, maxFrame, problem);
    client.destroy();
    const cluster = createCluster({
      // This member has answered. The client would begin with any of several, and report the failure of that one.
      rootNodes: [{ socket: { host, port } }],
      defaults: { ...shared, socket: socket as never },
      commandOptions: shared.commandOptions,
    });
    clients.push(cluster);
    const lost = await establish(cluster, ["error", "node-error", "disconnect"]);
    const pubSub: PubSub = {
      publish: (channel, frame) => cluster.sPublish(channel, bufferOf(frame)),
      subscribe: (channel, listener) => cluster.sSubscribe(channel, listener as never, true),
      unsubscribe: (channel, listener) => cluster.sUnsubscribe(channel, listener as never, true),
      ping: () => Promise.all(cluster.masters.map(async (master) => (await cluster.nodeClient(master)).ping())),
      destroy: close,
    };
    return new RedisSession(pubSub, lost, maxFrame, problem);
  } catch (error) {
    close();
    throw error;
  } finally {
    signal.removeEventListener("abort", close);
  }
}

/**
 * Connects a client.
 * @returns an object whose promise resolves with the first event that ends the connection
 */
async function establish(client: Connecting, ends: readonly string[]): Promise<Failure> {
  const { promise, resolve } = Promise.withResolvers<unknown>();
  for (const event of ends) client.on(event, (error) => resolve(error ?? new Error("the connection was closed")));
  // With a wrong password connect() may never settle; only the event is emitted (measured).
  await Promise.race([client.connect(), promise.then((error) => Promise.reject(error))]);
  return { promise };
}

/** Wraps a promise, so that an async function can return it without awaiting it. */
interface Failure {
  readonly promise: Promise<unknown>;
}

/** Creates a client with fixed type parameters. */
function clientOf(options: Parameters<typeof createClient>[0]) {
  return createClient({ ...options, RESP: 3, modules: {}, functions: {}, scripts: {} });
}

type Client = ReturnType<typeof clientOf>;

function pubSubOf(client: Client, destroy: () => void): PubSub {
  return {
    publish: (channel, frame) => client.publish(channel, bufferOf(frame)),
    subscribe: (channel, listener) => client.subscribe(channel, listener as never, true),
    unsubscribe: (channel, listener) => client.unsubscribe(channel, listener as never, true),
    ping: () => client.ping(),
    destroy,
  };
}

function bufferOf(frame: Uint8Array): Buffer {
  return Buffer.from(frame.buffer as ArrayBuffer, frame.byteOffset, frame.byteLength);
}

function authentication(credentials: Credentials | undefined): { username?: string; password?: string } {
  if (credentials === undefined) return {};
  if ("user" in credentials) return { username: credentials.user, password: credentials.password };
  throw new Error("a user and a password are required");
}

async function isCluster(client: Client): Promise<boolean> {
  try {
    return /cluster_enabled:1/.test(String(await client.sendCommand(["INFO", "cluster"])));
  } catch (error) {
    if (error instanceof ErrorReply) return false;
    throw error;
  }
}

/**
 * The longest frame: half of a subscriber's output buffer, beyond which Redis closes the subscriber's connection, and at
 * most the longest string. The defaults are used if these limits cannot be read, as on managed services and by users with
 * few permissions.
 */
async function frameLimit(client: Client): Promise<number> {
  const output = /pubsub (\d+)/.exec(await configOf(client, "client-output-buffer-limit"))?.[1];
  const bulk = /\d+/.exec(await configOf(client, "proto-max-bulk-len"))?.[0];
  const outputLimit = output === undefined ? DEFAULT_OUTPUT_LIMIT : Number(output);
  return Math.min(outputLimit === 0 ? Infinity : outputLimit / 2, Number(bulk ?? DEFAULT_BULK_LIMIT));
}

async function configOf(client: Client, name: string): Promise<string> {
  try {
    const values = await client.configGet(name);
    return values[name] ?? "";
  } catch (error) {
    if (error instanceof ErrorReply) return "";
    throw error;
  }
}

class RedisSession implements Session {
  readonly maxFrame: number;
  readonly ended: Promise<string>;
  /** Replies and messages received. Without those to subscriptions, a server that restores many would seem to hang. */
  progress = 0;
  readonly #pubSub: PubSub;
  readonly #problem: (message: string) => void;
  readonly #listeners = new Map<string, MessageListener>();
  /** Subscriptions that Redis has not confirmed. A PING alone would not cover them: in a cluster they go to several servers. */
  readonly #unconfirmed = new Set<Promise<void>>();
  /** Unsubscriptions that Redis has not confirmed. */
  readonly #unsubscribing = new Map<string, Promise<void>>();
  readonly #flushes = new PendingFlushes();
  readonly #abort: (reason: string) => void;
  #open = true;
  #bytes = 0;

  constructor(
    pubSub: PubSub,
    failed: Failure,
    maxFrame: number,
    problem: (message: string) => void,
  ) {
    this.maxFrame = maxFrame;
    this.#pubSub = pubSub;
    this.#problem = problem;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.#abort = (reason) => {
      if (!this.#open) return;
      this.#open = false;
      resolve(reason);
      this.#flushes.end(reason);
      pubSub.destroy();
    };
    this.ended = promise;
    failed.promise.then((error) => this.#abort(messageOf(error)));
  }

  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
    const { length } = frame;
    if (!this.#open || length > this.maxFrame || this.#bytes + length > MAX_WAITING_BYTES) return false;
    this.#bytes += length;
    this.#pubSub.publish(channel, frame).then(
      () => {
        this.#bytes -= length;
        this.progress++;
      },
      (error) => {
        this.#bytes -= length;
        this.#refused(error);
      },
    );
    return true;
  }

  subscribe(channel: string, deliver: Deliver): void {
    if (!this.#open) return;
    const listener: MessageListener = (message) => {
      this.progress++;
      if (this.#listeners.get(channel) !== listener) return;
      // A Buffer is a Uint8Array whose slice() copies nothing.
      deliver(new Uint8Array(message.buffer, message.byteOffset, message.length));
    };
    this.#listeners.set(channel, listener);
    // In a cluster the client may send a subscription before an earlier unsubscription (seen in 6.3.1).
    const unsubscribing = this.#unsubscribing.get(channel);
    this.#confirm(
      unsubscribing
        ? unsubscribing.then(() => this.#subscribeAgain(channel, listener))
        : this.#pubSub.subscribe(channel, listener),
    );
  }

  unsubscribe(channel: string): void {
    const listener = this.#listeners.get(channel);
    if (listener === undefined) return;
    this.#listeners.delete(channel);
    if (!this.#open) return;
    const unsubscribed = this.#confirm(this.#pubSub.unsubscribe(channel, listener));
    this.#unsubscribing.set(channel, unsubscribed);
    unsubscribed.finally(() =>
      this.#unsubscribing.get(channel) === unsubscribed && this.#unsubscribing.delete(channel)
    );
  }

  async flush(): Promise<void> {
    await this.#flushes.wait(Promise.all([...this.#unconfirmed, this.#pubSub.ping()]));
  }

  abort(reason: string): void {
    this.#abort(reason);
  }

  async #subscribeAgain(channel: string, listener: MessageListener): Promise<void> {
    if (this.#open && this.#listeners.get(channel) === listener) await this.#pubSub.subscribe(channel, listener);
  }

  /** Never rejects. */
  #confirm(answer: Promise<void>): Promise<void> {
    const confirmed: Promise<void> = answer.catch((error) => this.#refused(error)).finally(() => {
      this.progress++;
      this.#unconfirmed.delete(confirmed);
    });
    this.#unconfirmed.add(confirmed);
    return confirmed;
  }

  /** Reports an error reply. The end of the connection also rejects, but `ended` reports that. */
  #refused(error: unknown): void {
    if (error instanceof ErrorReply) this.#problem(explain(error));
  }
}
