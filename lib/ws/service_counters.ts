/**
 * What a service counts of its connections and messages, for the metrics.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import { DurationHistogram } from "../metrics.ts";

/** Why a handshake was refused. Fixed, so that no stranger makes a new time series. */
export const REFUSAL_CAUSES = [
  ...["path", "host", "handshake", "tls", "origin", "limit", "token", "app", "timeout", "gone", "stopping"] as const,
];
export type RefusalCause = typeof REFUSAL_CAUSES[number];

/** The hooks of an app that may fail. */
export const HOOKS = ["upgrade", "open", "message", "drain", "close", "error", "gap"] as const;
export type HookName = typeof HOOKS[number];

/** Of so many messages the hook of one is measured. A power of two. */
const SAMPLE_EVERY = 64;
const REGISTERED: ReadonlySet<number> = new Set(Object.values(CloseCode));

/** Plain numbers: the path of a message pays for an addition. */
export class ServiceCounters {
  received = 0;
  receivedBytes = 0;
  opened = 0;
  readonly closed: Record<string, number> = Object.fromEntries([...REGISTERED, "other"].map((code) => [code, 0]));
  readonly refused = zeros(REFUSAL_CAUSES);
  readonly hookErrors = zeros(HOOKS);
  readonly durations = { message: new DurationHistogram(), upgrade: new DurationHistogram() };
  #handled = 0;

  /** A message came. */
  receive(bytes: number): void {
    this.received++;
    this.receivedBytes += bytes;
  }

  /** Whether the hook of this message is to be measured. */
  get measured(): boolean {
    return (++this.#handled & (SAMPLE_EVERY - 1)) === 0;
  }

  /** An open connection ended. The code may be the client's choice. */
  ended(code: number): void {
    this.closed[REGISTERED.has(code) ? code : "other"]!++;
  }

  /** Measures a hook until what it returned has settled. */
  measure<T>(hook: keyof ServiceCounters["durations"], run: () => T): T {
    const began = performance.now();
    const done = () => this.durations[hook].observe(performance.now() - began);
    let result: T;
    try {
      result = run();
    } catch (error) {
      done();
      throw error;
    }
    if (result instanceof Promise) result.then(done, done);
    else done();
    return result;
  }
}

function zeros<N extends string>(names: readonly N[]): Record<N, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<N, number>;
}
