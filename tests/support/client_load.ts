/**
 * Clients that detect lost or refused connections. HeldClients keeps connections open and sends echoes over them.
 * NewClients opens new connections in a loop.
 * @module
 */
import { assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { Client, type ClientOptions } from "./client.ts";

/** Open connections that send echoes until they are stopped. Disposing of it closes them. */
export class HeldClients implements AsyncDisposable {
  readonly clients: readonly Client[];
  /** The number of answered echoes. */
  echoes = 0;
  /** The longest time to an answer, in milliseconds. */
  slowest = 0;
  readonly #stopping = new AbortController();
  readonly #loops: Promise<void>[];

  private constructor(clients: readonly Client[], pause: number) {
    this.clients = clients;
    this.#loops = clients.map((client, index) => this.#talk(client, index, pause));
    // settle() reports the errors of the loops.
    for (const loop of this.#loops) loop.catch(() => {});
  }

  /** Opens `count` connections. Each sends its next echo `pause` milliseconds after an answer. */
  static async open(count: number, url: string, options: ClientOptions, pause = 20): Promise<HeldClients> {
    const clients = await Promise.all(Array.from({ length: count }, () => Client.open(url, options)));
    return new HeldClients(clients, pause);
  }

  /** Stops the echoes. @throws {Error} if an echo has a wrong answer or none */
  async settle(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#loops);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    for (const { socket } of this.clients) socket.close();
    await Promise.allSettled(this.#loops);
    await Promise.all(this.clients.map(({ closed }) => closed));
  }

  async #talk(client: Client, index: number, pause: number): Promise<void> {
    const { signal } = this.#stopping;
    for (let round = 0; !signal.aborted; round++) {
      const text = `${index} ${round}`;
      const began = performance.now();
      assertEquals(await client.ask(text), text);
      this.slowest = Math.max(this.slowest, performance.now() - began);
      this.echoes++;
      await delay(pause, { signal }).catch(() => {});
    }
  }
}

/** Opens new connections in `lanes` parallel loops, and sends one echo over each. */
export class NewClients implements AsyncDisposable {
  /** For each served connection, the time from connecting to the echo in milliseconds. */
  readonly served: number[] = [];
  /** The errors of the refused connections. */
  readonly refused: string[] = [];
  readonly #open: () => Promise<Client>;
  readonly #lanes: Promise<void>[];
  readonly #waiting = new Set<() => void>();
  #stopping = false;

  constructor(url: string, options: ClientOptions, lanes = 3) {
    this.#open = () => Client.open(url, options);
    this.#lanes = Array.from({ length: lanes }, () => this.#run());
  }

  /** Waits until the given number of further connections is served, or one is refused. */
  async more(count: number): Promise<void> {
    const aim = this.served.length + count;
    while (this.served.length < aim && this.refused.length === 0) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  /** Ends the loops and asserts that no connection was refused. */
  async settle(): Promise<void> {
    await this[Symbol.asyncDispose]();
    assertEquals(this.refused, []);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#lanes);
  }

  async #run(): Promise<void> {
    while (!this.#stopping && this.refused.length === 0) {
      const began = performance.now();
      try {
        await using client = await this.#open();
        assertEquals(await client.ask("new"), "new");
        this.served.push(performance.now() - began);
      } catch (error) {
        this.refused.push(`${error}`);
      }
      for (const wake of this.#waiting) wake();
      this.#waiting.clear();
    }
    for (const wake of this.#waiting) wake();
  }
}
