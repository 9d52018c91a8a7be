/**
 * A broker over sessions that end: connects again for ever with back-off and jitter, keeps the subscriptions, and notices
 * an engine that hangs.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Broker, BrokerListener, Deliver } from "../broker.ts";

/** One connection to an engine. What it is asked after its end does nothing. */
export interface Session {
  /** See {@link Broker.maxFrame}. */
  readonly maxFrame: number;
  /** Resolves with the reason when it ends, whoever ended it. Never rejects. */
  readonly ended: Promise<string>;
  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean;
  subscribe(channel: string, deliver: Deliver): void;
  unsubscribe(channel: string): void;
  /** Grows whenever the engine shows that it works: it sends something, or takes some of what waits to be sent. */
  readonly progress: number;
  /** Resolves when the engine has processed all that was asked of it; rejects when the session ends before. */
  flush(): Promise<void>;
  /** Ends it at once. */
  abort(reason: string): void;
}

/**
 * Connects once.
 * @param problem what goes wrong later without ending the session, a missing permission for instance
 * @throws {Error} whose message says what failed: the address, authentication, TLS, …
 */
export type Connect = (problem: (message: string) => void, signal: AbortSignal) => Promise<Session>;

/** How a broker reconnects. */
export interface ReconnectOptions {
  /** The first wait, ms; each further one is twice as long. Default 100. */
  readonly shortest?: number;
  /** The longest wait, ms. Default 5,000. */
  readonly longest?: number;
  /** How long one attempt may take, ms. Default 5,000. */
  readonly timeout?: number;
  /** How often the engine is asked for a sign of life, ms. Default 1,000. */
  readonly interval?: number;
  /** How long it may take for that before the connection is given up, ms. Default 3,000. */
  readonly silence?: number;
}

/** See the module. */
export class ReconnectingBroker implements Broker {
  readonly #connect: Connect;
  readonly #listener: BrokerListener;
  readonly #options: Required<ReconnectOptions>;
  readonly #subscriptions = new Map<string, Deliver>();
  readonly #stopping = new AbortController();
  #session: Session | undefined;
  /** The session has all subscriptions. */
  #connected = false;
  #maxFrame = Infinity;
  #running: Promise<void> | undefined;
  /** What was told last, so that an outage of an hour is one line. */
  #told = "";

  private constructor(connect: Connect, listener: BrokerListener, options: ReconnectOptions) {
    this.#connect = connect;
    this.#listener = listener;
    this.#options = { shortest: 100, longest: 5000, timeout: 5000, interval: 1000, silence: 3000, ...options };
  }

  /**
   * Connects.
   * @param optional whether to go on without the engine, and connect when it is there
   * @throws {Error} why it cannot connect, unless optional
   */
  static async open(
    connect: Connect,
    listener: BrokerListener,
    { optional = false, ...options }: ReconnectOptions & { readonly optional?: boolean } = {},
  ): Promise<ReconnectingBroker> {
    const broker = new ReconnectingBroker(connect, listener, options);
    let first: Session | undefined;
    try {
      first = await broker.#attempt();
    } catch (error) {
      if (!optional) throw error;
      broker.#told = messageOf(error);
      listener.down(broker.#told);
    }
    if (first !== undefined) broker.#adopt(first);
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
    this.#subscriptions.set(channel, deliver);
    this.#session?.subscribe(channel, deliver);
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
    // What was published last, that this node leaves for instance, still goes out.
    const flushed = new AbortController();
    this.#session?.flush().catch(() => {}).finally(() => flushed.abort());
    if (this.#session !== undefined) await pause(1000, flushed.signal);
    this.#session?.abort("stopped");
    await this.#running;
  }

  async #run(session: Session | undefined): Promise<void> {
    const { signal } = this.#stopping;
    const { shortest, longest } = this.#options;
    for (let wait = shortest;;) {
      if (session !== undefined) {
        const reason = await this.#live(session);
        if (signal.aborted) return;
        this.#told = reason;
        this.#listener.down(reason);
        wait = shortest;
      }
      // Between half of the wait and the whole: nodes that lost one engine together do not come back together.
      await pause(wait * (0.5 + Math.random() / 2), signal);
      if (signal.aborted) return;
      wait = Math.min(wait * 2, longest);
      session = await this.#again();
    }
  }

  /** One more attempt; undefined where it failed. */
  async #again(): Promise<Session | undefined> {
    const { signal } = this.#stopping;
    try {
      const session = this.#session = await this.#attempt();
      for (const [channel, deliver] of this.#subscriptions) session.subscribe(channel, deliver);
      await session.flush();
      if (signal.aborted) return session;
      this.#adopt(session);
      this.#told = "";
      this.#listener.up();
      return session;
    } catch (error) {
      this.#session?.abort("subscribing failed");
      this.#session = undefined;
      if (signal.aborted) return undefined;
      const reason = messageOf(error);
      if (reason !== this.#told) this.#listener.problem(reason);
      this.#told = reason;
      return undefined;
    }
  }

  #adopt(session: Session): void {
    this.#session = session;
    this.#connected = true;
    this.#maxFrame = session.maxFrame;
  }

  async #attempt(): Promise<Session> {
    const { timeout } = this.#options;
    const giveUp = new AbortController();
    const signal = AbortSignal.any([this.#stopping.signal, giveUp.signal]);
    const late = new Promise<never>((_, reject) => {
      signal.addEventListener(
        "abort",
        () => reject(new Error(`it cannot be reached: no answer within ${timeout / 1000} s`)),
        { once: true },
      );
    });
    const timer = setTimeout(() => giveUp.abort(), timeout);
    const session = this.#connect((message) => this.#listener.problem(message), signal);
    // One that comes too late is nobody's.
    session.then((late) => signal.aborted && late.abort("too late"), () => {});
    try {
      return await Promise.race([session, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Watches a session until it ends. */
  async #live(session: Session): Promise<string> {
    const { interval, silence } = this.#options;
    let asked: number | undefined;
    let { progress } = session;
    let looked = performance.now();
    const watch = setInterval(() => {
      const now = performance.now();
      // After a stall of this process the answer may be here and not read yet.
      const stalled = now - looked > 2 * interval;
      looked = now;
      // An engine may take long to answer what waits behind much else, without hanging: NATS stalls publishers so.
      if (asked !== undefined && session.progress !== progress) asked = now;
      progress = session.progress;
      if (asked === undefined) {
        asked = now;
        session.flush().then(() => asked = undefined, () => {});
      } else if (!stalled && now - asked > silence) {
        session.abort(`it has not answered for ${Math.round((now - asked) / 1000)} s`);
      }
    }, interval);
    const reason = await session.ended;
    clearInterval(watch);
    this.#connected = false;
    this.#session = undefined;
    return reason;
  }
}

/** Waits; less long where the signal is aborted. */
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
