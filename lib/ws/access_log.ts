/**
 * The access log: one line when a connection opens, and one when it ends.
 * @module
 */
import type { Logger } from "../log.ts";
import type { CloseFrame } from "./inbound_limits.ts";

/** The connection's fields in a log line. */
export interface ConnectionFacts {
  readonly peer: string;
  readonly address: string | undefined;
  /** The requested path, without the query, which may contain a token. */
  readonly path: string;
  readonly user: string | undefined;
}

/** The totals of a connection. */
export interface TrafficTotals {
  /** When it opened, by `performance.now()`; undefined if it never opened. */
  readonly openedAt: number | undefined;
  /** Bytes of binary messages plus characters of text messages. */
  readonly received: number;
  readonly sent: number;
  /** The error that Deno reported. */
  readonly error: string | undefined;
}

/** Writes the lines at level `debug`, or at `info` if the operator enabled the access log. */
export class AccessLog {
  readonly #log: Logger;
  readonly #level: "debug" | "info";
  /** Throttled. For connections that an operator's limit closed; these are logged even without the access log. */
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
    if (limit) this.#notices.info("connection closed by a limit", { peer, code, reason: why, address });
  }
}
