/**
 * A broker that reconnects. It replaces a session that ended, with back-off and jitter and any number of times, restores
 * the subscriptions, and detects a server that hangs.
 * @module
 */
import { messageOf } from "../../errors.ts";
import { type Broker, type BrokerListener, type BrokerStart, type Deliver, NODE_BYTES } from "../broker.ts";

/** One connection to a server. After its end all calls do nothing. */
export interface Session {
  /** See {@link Broker.maxFrame}. */
  readonly maxFrame: number;
  /** Resolves with the reason when the session has ended, on either side. Never rejects. */
  readonly ended: Promise<string>;
  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean;
  /** May also deliver the frames of this node. */
  subscribe(channel: string, deliver: Deliver): void;
  unsubscribe(channel: string): void;
  /** Grows whenever the server sends something or reads some of the waiting bytes. */
  readonly progress: number;
  /** Resolves when the server has processed all earlier calls. Rejects if the session ends first. */
  flush(): Promise<void>;
  /** Ends the session at once. */
  abort(reason: string): void;
}

/**
 * Opens one session.
 * @param problem called with later errors that do not end the session, for example a missing permission
 * @throws {Error} with a message that names the failure: the address, authentication, TLS, …
 */
export type Connect = (problem: (message: string) => void, signal: AbortSignal) => Promise<Session>;

/** A server that sessions can be opened with. */
export interface SessionServer {
  /** Names the server in the error of an attempt with several servers. */
  readonly name: string;
  readonly connect: Connect;
}

/**
 * Promises that the end of a session rejects. A race with `ended` would keep every finished promise as long as the session
 * lives: 500 bytes per flush (measured).
 */
export class PendingFlushes {
  readonly #rejects = new Set<(error: Error) => void>();
  #reason: string | undefined;

  /** Waits for a promise. Rejects with the reason if the session ends first. */
  async wait(flushed: Promise<unknown>): Promise<void> {
    const { promise: ended, reject } = Promise.withResolvers<never>();
    if (this.#reason !== undefined) reject(new Error(this.#reason));
    this.#rejects.add(reject);
    try {
      await Promise.race([flushed, ended]);
    } finally {
      this.#rejects.delete(reject);
    }
  }

  /** Rejects the pending promises and all later ones. */
  end(reason: string): void {
    this.#reason = reason;
    for (const reject of this.#rejects) reject(new Error(reason));
  }
}

/** Options of reconnecting. */
export interface ReconnectOptions {
  /** The first delay, ms. Each further delay is twice as long. Default 100. */
  readonly minDelay?: number;
  /** The longest delay, ms. Default 5,000. */
  readonly maxDelay?: number;
  /** The time limit of one attempt per server, ms. Default 5,000. */
  readonly connectTimeout?: number;
  /** The time between two probes of the server, ms. Default 1,000. */
  readonly probeInterval?: number;
  /** The time after which an unanswered probe ends the session, ms. Default 3,000. */
  readonly probeTimeout?: number;
}

/** A broker over sessions that are replaced when they end. */
export class ReconnectingBroker implements Broker {
  readonly #servers: readonly SessionServer[];
  readonly #listener: BrokerListener;
  readonly #node: Uint8Array;
  readonly #options: Required<ReconnectOptions>;
  readonly #subscriptions = new Map<string, Deliver>();
  readonly #stopping = new AbortController();
  #session: Session | undefined;
  /** Whether the session has all subscriptions. */
  #connected = false;
  #maxFrame = Infinity;
  #running: Promise<void> | undefined;
  /** The index of the server that the next attempt begins with. */
  #nextServer = 0;
  /** The last reported reason; a repeated one is not reported again. */
  #lastReason = "";

  private constructor(servers: readonly SessionServer[], { node, listener }: BrokerStart, options: ReconnectOptions) {
    this.#servers = servers;
    this.#listener = listener;
    this.#node = node;
    this.#options = {
      minDelay: 100,
      maxDelay: 5000,
      connectTimeout: 5000,
      probeInterval: 1000,
      probeTimeout: 3000,
      ...options,
    };
  }

  /**
   * Connects to the first server that answers.
   * @param servers members of one cluster, at least one
   * @param optional whether to continue without the server, and connect once it is reachable
   * @throws {Error} if the connection fails, unless optional
   */
  static async open(
    servers: readonly SessionServer[],
    start: BrokerStart,
    { optional = false, ...options }: ReconnectOptions & { readonly optional?: boolean } = {},
  ): Promise<ReconnectingBroker> {
    const broker = new ReconnectingBroker(servers, start, options);
    let first: Session | undefined;
    try {
      first = await broker.#connectOnce();
    } catch (error) {
      if (!optional) throw error;
      broker.#lastReason = messageOf(error);
      start.listener.down(broker.#lastReason);
    }
    if (first !== undefined) {
      broker.#probe(first);
      broker.#useSession(first);
    }
    broker.#running = broker.#run(first);
    return broker;
  }

  get maxFrame(): number {
    return this.#maxFrame;
  }

  get connected(): boolean {
    return this.#connected;
  }

  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
    return this.#connected && this.#session!.publish(channel, frame);
  }

  subscribe(channel: string, deliver: Deliver): void {
    // After a reconnection a server may process frames of the earlier connection, and deliver them to the new one, which
    // it takes for another client (seen with NATS's no_echo).
    const filtered: Deliver = (frame) => {
      if (!startsWith(frame, this.#node)) deliver(frame);
    };
    this.#subscriptions.set(channel, filtered);
    this.#session?.subscribe(channel, filtered);
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.delete(channel);
    this.#session?.unsubscribe(channel);
  }

  flush(): Promise<void> {
    return this.#session?.flush() ?? Promise.reject(new Error("the broker is not connected"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    // Sends the last frames, for example the announcement that this node leaves.
    const flushed = new AbortController();
    this.#session?.flush().catch(() => {}).finally(() => flushed.abort());
    if (this.#session !== undefined) await pause(1000, flushed.signal);
    this.#session?.abort("stopped");
    await this.#running;
  }

  async #run(session: Session | undefined): Promise<void> {
    const { signal } = this.#stopping;
    const { minDelay, maxDelay } = this.#options;
    for (let delay = minDelay;;) {
      if (session !== undefined) {
        const reason = await session.ended;
        this.#connected = false;
        this.#session = undefined;
        if (signal.aborted) return;
        this.#lastReason = reason;
        this.#listener.down(reason);
        delay = minDelay;
      }
      // Jitter between half and all of the delay, so that nodes that lost the same server do not reconnect at the same time.
      await pause(delay * (0.5 + Math.random() / 2), signal);
      if (signal.aborted) return;
      delay = Math.min(delay * 2, maxDelay);
      session = await this.#reconnect();
    }
  }

  /** Makes one attempt. Returns undefined if it failed. */
  async #reconnect(): Promise<Session | undefined> {
    const { signal } = this.#stopping;
    try {
      const session = this.#session = await this.#connectOnce();
      // Also while the subscriptions are restored: the flush of a server that hangs would never settle.
      this.#probe(session);
      for (const [channel, deliver] of this.#subscriptions) session.subscribe(channel, deliver);
      await session.flush();
      if (signal.aborted) return session;
      this.#useSession(session);
      this.#lastReason = "";
      this.#listener.up();
      return session;
    } catch (error) {
      if (this.#session !== undefined) this.#skipServer();
      this.#session?.abort("subscribing failed");
      this.#session = undefined;
      if (signal.aborted) return undefined;
      const reason = messageOf(error);
      if (reason !== this.#lastReason) this.#listener.problem(reason);
      this.#lastReason = reason;
      return undefined;
    }
  }

  #useSession(session: Session): void {
    this.#session = session;
    this.#connected = true;
    this.#maxFrame = session.maxFrame;
  }

  /**
   * Tries each server once. Begins with the one that was used last, unless it hung: servers that are no cluster would
   * otherwise divide the nodes after a short disconnection.
   * @throws {Error} that names the failure of each server
   */
  async #connectOnce(): Promise<Session> {
    const failures: string[] = [];
    for (const { length } = this.#servers; failures.length < length;) {
      const server = this.#servers[this.#nextServer]!;
      try {
        return await this.#connectTo(server);
      } catch (error) {
        this.#skipServer();
        if (length === 1 || this.#stopping.signal.aborted) throw error;
        failures.push(`${server.name}: ${messageOf(error)}`);
      }
    }
    throw new Error(failures.join("; "));
  }

  #skipServer(): void {
    this.#nextServer = (this.#nextServer + 1) % this.#servers.length;
  }

  async #connectTo(server: SessionServer): Promise<Session> {
    const { connectTimeout } = this.#options;
    const stopping = this.#stopping.signal;
    const attempt = new AbortController();
    const late = Promise.withResolvers<never>();
    const giveUp = () => {
      attempt.abort();
      late.reject(new Error(`it cannot be reached: no answer within ${connectTimeout / 1000} s`));
    };
    const timer = setTimeout(giveUp, connectTimeout);
    // AbortSignal.any would keep each attempt as long as the broker exists: 2.7 kB (measured).
    stopping.addEventListener("abort", giveUp);
    const connecting = server.connect((message) => this.#listener.problem(message), attempt.signal);
    // A session that opens after the timeout is not used.
    connecting.then((session) => attempt.signal.aborted && session.abort("too late"), () => {});
    try {
      return await Promise.race([connecting, late.promise]);
    } finally {
      clearTimeout(timer);
      stopping.removeEventListener("abort", giveUp);
    }
  }

  /** Probes the server of a session until the session ends, and ends it if the server does not answer. */
  #probe(session: Session): void {
    const { probeInterval, probeTimeout } = this.#options;
    let probedAt: number | undefined;
    let { progress } = session;
    let lastCheck = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      // After a stall of this process the answer may have arrived without having been read.
      const stalled = now - lastCheck > 2 * probeInterval;
      lastCheck = now;
      // A long queue may delay the answer of a healthy server: NATS throttles publishers this way.
      if (probedAt !== undefined && session.progress !== progress) probedAt = now;
      progress = session.progress;
      if (probedAt === undefined) {
        probedAt = now;
        session.flush().then(() => probedAt = undefined, () => {});
      } else if (!stalled && now - probedAt > probeTimeout) {
        if (this.#connected) this.#skipServer();
        session.abort(`it has not answered for ${probeTimeout / 1000} s`);
      }
    }, probeInterval);
    session.ended.then(() => clearInterval(timer));
  }
}

/** Waits for a time, or until the signal is aborted. */
function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    const done = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, milliseconds);
    signal.addEventListener("abort", done);
  });
}

function startsWith(frame: Uint8Array, node: Uint8Array): boolean {
  for (let i = 0; i < NODE_BYTES; i++) {
    if (frame[i] !== node[i]) return false;
  }
  return true;
}
