/**
 * Peers that follow the protocol and check every answer. They use Deno's own WebSocket client, as a program would.
 * @module
 */
import type { RawTarget } from "../support/raw.ts";
import { seeded } from "../support/seeded.ts";
import { Histogram, type Latency } from "./histogram.ts";
import { pause } from "./pause.ts";

/** The results of the good peers. */
export interface Goodness {
  readonly messages: number;
  readonly connections: number;
  readonly latency: Latency;
  /** Errors: answers that were missing or wrong, and connections that failed. */
  readonly lost: readonly string[];
}

/** Longest wait for an answer, ms. After it the answer counts as lost. */
const PATIENCE = 20_000;
/** Number of errors kept: further ones would say the same. */
const MOST_LOST = 20;

/**
 * Runs good peers until the time is up. Each opens one connection after the other and sends a random number of messages
 * on it.
 * @param count peers at a time
 * @param until end, on the clock of `performance.now()`
 */
export async function behave(target: RawTarget, count: number, seed: number, until: number): Promise<Goodness> {
  using client = Deno.createHttpClient({ caCerts: target.ca === undefined ? [] : [target.ca] });
  const histogram = new Histogram();
  const lost: string[] = [];
  let messages = 0;
  let connections = 0;

  const talk = async (_: unknown, nth: number) => {
    const random = seeded(seed + nth);
    while (performance.now() < until) {
      connections++;
      try {
        await using conversation = await Conversation.open(target.port, client);
        for (let left = 20 + random(400); left > 0 && performance.now() < until; left--) {
          const began = performance.now();
          await conversation.exchange(textOf(random));
          histogram.add(performance.now() - began);
          messages++;
          if (random(10) === 0) await pause(random(200));
        }
      } catch (error) {
        if (lost.length < MOST_LOST) lost.push(`a good peer: ${error instanceof Error ? error.message : error}`);
      }
    }
  };
  await Promise.all(Array.from({ length: count }, talk));
  return { messages, connections, latency: histogram.latency(), lost };
}

/** Returns a text of up to 8 KiB. One in four contains characters outside ASCII. */
function textOf(random: (below: number) => number): string {
  const unit = random(4) === 0 ? "žluťoučký 🐎 " : "the quick brown fox ";
  return `${random(2 ** 32)} ${unit.repeat(random(4) === 0 ? random(400) : random(10))}`;
}

/** One connection that sends a message and waits for its echo before the next one. */
class Conversation {
  readonly #socket: WebSocket;
  #answered: ((answer: string) => void) | undefined;
  #failed: ((error: Error) => void) | undefined;
  readonly #ended = Promise.withResolvers<CloseEvent>();

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (this.#answered) this.#answered(data);
      else this.#failed?.(new Error("got a message without a request"));
    };
    socket.onclose = (event) => {
      this.#ended.resolve(event);
      this.#failed?.(new Error(`was closed with ${event.code} ${event.reason}`));
    };
  }

  static async open(port: number, client: Deno.HttpClient): Promise<Conversation> {
    const socket = new WebSocket(`wss://localhost:${port}/`, { client });
    const conversation = new Conversation(socket);
    await conversation.#within("the handshake", (resolve) => socket.onopen = () => resolve(undefined));
    return conversation;
  }

  /** @throws {Error} if the echo differs from the text or does not arrive. */
  async exchange(text: string): Promise<void> {
    const answer = await this.#within<string>("an answer", (resolve) => {
      this.#answered = resolve;
      this.#socket.send(text);
    });
    this.#answered = undefined;
    if (answer !== text) {
      throw new Error(`sent ${text.length} characters and got ${answer.length} different ones back`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#failed = undefined;
    this.#answered = undefined;
    if (this.#socket.readyState === WebSocket.CLOSED) return;
    this.#socket.close(1000);
    const timer = setTimeout(() => this.#ended.resolve(new CloseEvent("close", { code: 0 })), PATIENCE);
    const { code } = await this.#ended.promise;
    clearTimeout(timer);
    // Deno's client reports 1005 if a ping arrives between its close frame and the service's: it may send no pong then,
    // and takes that for an error (read_frame of fastwebsockets).
    if (code !== 1000 && code !== 1005) throw new Error(`closed with code 1000 and got ${code}`);
  }

  #within<T>(what: string, begin: (resolve: (value: T) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`waited ${PATIENCE / 1000} s for ${what}`)), PATIENCE);
      this.#failed = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      begin((value) => {
        clearTimeout(timer);
        resolve(value);
      });
    });
  }
}
