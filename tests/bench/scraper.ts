/**
 * Scrapes a service's metrics once per second, the shortest interval that is common with Prometheus.
 * @module
 */
import { messageOf } from "../../lib/errors.ts";

/** Milliseconds between two scrapes. */
const INTERVAL = 1_000;

/** Scrapes until `stop` is called. */
export class Scraper {
  /** Number of scrapes that were answered. */
  answered = 0;
  readonly #timer: ReturnType<typeof setInterval>;
  #failure: string | undefined;
  #last: Promise<void> = Promise.resolve();

  private constructor(admin: string) {
    this.#timer = setInterval(() => this.#last = this.#scrape(admin), INTERVAL);
  }

  /**
   * Starts with one scrape, which makes the service load the code that all scrapes need.
   * @param admin `http://HOST:PORT`
   */
  static async start(admin: string): Promise<Scraper> {
    const scraper = new Scraper(admin);
    await scraper.#scrape(admin);
    return scraper;
  }

  /** @throws {Error} if a scrape was not answered */
  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#last;
    if (this.#failure !== undefined) throw new Error(`a scrape was not answered: ${this.#failure}`);
  }

  async #scrape(admin: string): Promise<void> {
    try {
      const answer = await fetch(`${admin}/metrics`);
      const text = await answer.text();
      if (!/^wss_messages_total\{/m.test(text)) throw new Error(`${answer.status} ${text.slice(0, 200)}`);
      this.answered++;
    } catch (error) {
      this.#failure ??= messageOf(error);
    }
  }
}
