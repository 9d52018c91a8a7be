/**
 * The log's lines about connections: one when a peer is open, one when it has ended.
 * @module
 */
import type { Logger } from "../log.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** What a line says of a connection. */
export interface ConnectionFacts {
  readonly peer: string;
  readonly address: string | undefined;
  /** The path that was asked for, without a query: that may hold a token. */
  readonly path: string;
  readonly user: string | undefined;
}

/** What a connection came to. */
export interface TrafficTotals {
  /** When it opened, on the clock of `performance.now`; undefined: it never did. */
  readonly openedAt: number | undefined;
  /** Bytes of the payloads of messages; of text, its characters. */
  readonly received: number;
  readonly sent: number;
  /** What Deno did not like. */
  readonly error: string | undefined;
}

/** Writes them at `debug`, or at `info` where the operator asks for an access log. */
export class AccessLog {
  readonly #log: Logger;
  readonly #level: "debug" | "info";
  /** Throttled: for ends that a limit of the operator's brought about, which are of interest without an access log. */
  readonly #notices: Logger;

  constructor(log: Logger, notices: Logger, level: "debug" | "info") {
    this.#log = log;
    this.#notices = notices;
    this.#level = level;
  }

  opened(facts: ConnectionFacts): void {
    if (this.#log.enabled(this.#level)) this.#log[this.#level]("opened", { ...facts });
  }

  closed(facts: ConnectionFacts, { code, reason, limit }: CloseFrame, totals: TrafficTotals): void {
    const { peer, address } = facts;
    const why = reason || undefined;
    if (this.#log.enabled(this.#level)) {
      const { openedAt, received, sent, error } = totals;
      const ms = openedAt === undefined ? undefined : Math.round(performance.now() - openedAt);
      this.#log[this.#level]("closed", { ...facts, code, reason: why, ms, received, sent, error });
    }
    if (limit) this.#notices.info("a limit ended a connection", { peer, code, reason: why, address });
  }
}
