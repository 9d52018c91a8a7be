/**
 * Collects the output of a running process and waits for parts of it.
 * @module
 */

interface Waiting {
  readonly pattern: RegExp;
  readonly from: number;
  resolve(match: RegExpExecArray): void;
  reject(error: Error): void;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The time limit for an expected text, in milliseconds. It is far longer than a busy machine needs. */
const TIME_LIMIT = 120_000;

/** Collects a stream of text. The stream must end before the test ends: await `done`. */
export class Transcript {
  readonly done: Promise<void>;
  readonly #name: string;
  readonly #waiting = new Set<Waiting>();
  #text = "";
  #ended = false;

  /** @param name the name of the stream in error messages */
  constructor(name: string, stream: ReadableStream<Uint8Array>) {
    this.#name = name;
    this.done = this.#read(stream);
  }

  /** The text so far. */
  get text(): string {
    return this.#text;
  }

  /** The lines so far. */
  get lines(): string[] {
    return this.#text.split("\n").filter((line) => line !== "");
  }

  /**
   * Resolves once the text from an index onwards contains a match.
   * @throws {Error} if the stream ends without a match, or no match arrives in time
   */
  until(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
    const late = () => this.#fail(waiting, `did not say ${pattern} within ${TIME_LIMIT / 1000} s`);
    const waiting: Waiting = { pattern, from, resolve, reject, timer: setTimeout(late, TIME_LIMIT) };
    this.#waiting.add(waiting);
    this.#settle();
    return promise;
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.#text += decoder.decode(bytes, { stream: true });
      this.#settle();
    }
    this.#ended = true;
    this.#settle();
  }

  #settle(): void {
    for (const waiting of this.#waiting) {
      const match = waiting.pattern.exec(this.#text.slice(waiting.from));
      if (match) {
        waiting.resolve(match);
        this.#forget(waiting);
      } else if (this.#ended) this.#fail(waiting, `ended without ${waiting.pattern}`);
    }
  }

  #fail(waiting: Waiting, what: string): void {
    waiting.reject(new Error(`${this.#name} ${what}; it said:\n${this.#text}`));
    this.#forget(waiting);
  }

  #forget(waiting: Waiting): void {
    clearTimeout(waiting.timer);
    this.#waiting.delete(waiting);
  }
}
