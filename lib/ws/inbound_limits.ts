/**
 * What one peer may send: how large a message, how many a second, how many while nobody else is served.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import { MessageRate, TurnBudget, type TurnCounter } from "./limits.ts";
import { longerThan } from "./message.ts";

/** The bounds, the same for all peers of a service. */
export interface InboundLimitOptions {
  /** Bytes of one message. */
  readonly maxPayload: number;
  /** Messages a second; 0 is unlimited. */
  readonly messageRate: number;
  /** Tells whether the event loop has turned. */
  readonly turns: TurnCounter;
}

/** What to close with. */
export interface CloseFrame {
  readonly code: number;
  readonly reason: string;
  /** Whether a limit of the operator's is the cause. */
  readonly limit?: boolean | undefined;
}

/** Judges the messages of one peer. */
export class InboundLimits {
  readonly #rules: InboundLimitOptions;
  readonly #turnBudget: TurnBudget;
  readonly #rate: MessageRate | undefined;

  constructor(rules: InboundLimitOptions) {
    this.#rules = rules;
    this.#turnBudget = new TurnBudget(rules.turns, rules.maxPayload);
    this.#rate = rules.messageRate === 0 ? undefined : new MessageRate(rules.messageRate);
  }

  /** Counts a message; returns what to close with where it is one too many or too long. */
  judge(data: string | ArrayBuffer): CloseFrame | undefined {
    const { maxPayload, messageRate } = this.#rules;
    if (longerThan(data, maxPayload)) {
      return { code: CloseCode.MessageTooBig, reason: `a message may have ${maxPayload} bytes`, limit: true };
    }
    if (!this.#turnBudget.take(typeof data === "string" ? data.length : data.byteLength)) {
      const reason = "too many messages, or too long ones, without waiting: nobody else was served";
      return { code: CloseCode.PolicyViolation, reason, limit: true };
    }
    if (this.#rate !== undefined && !this.#rate.take(performance.now())) {
      return { code: CloseCode.PolicyViolation, reason: `more than ${messageRate} messages a second`, limit: true };
    }
    return undefined;
  }
}
