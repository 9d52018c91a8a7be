/**
 * The counters of a service's connections and messages, for the metrics.
 * @module
 */
import { CloseCode } from "../close_codes.ts";
import { DurationHistogram } from "../metrics.ts";

/** The reasons for refusing a handshake. The list is fixed, so that clients cannot create time series. */
export const REFUSAL_CAUSES = [
  ...["path", "host", "handshake", "tls", "origin", "limit", "token", "app", "timeout", "gone", "stopping"] as const,
];
export type RefusalCause = typeof REFUSAL_CAUSES[number];

/** The hooks of an app that may fail. */
export const HOOKS = ["upgrade", "open", "message", "drain", "close", "error", "gap"] as const;
export type HookName = typeof HOOKS[number];

/** The message hook is measured for one of this many messages. A power of two. */
const SAMPLE_EVERY = 64;
const REGISTERED: ReadonlySet<number> = new Set(Object.values(CloseCode));

/** The counters are plain numbers, so that counting a message costs one addition. */
export class ServiceCounters {
  received = 0;
  receivedBytes = 0;
  opened = 0;
  readonly closed: Record<string, number> = Object.fromEntries([...REGISTERED, "other"].map((code) => [code, 0]));
  readonly refused = zeros(REFUSAL_CAUSES);
  readonly hookErrors = zeros(HOOKS);
  readonly durations = { message: new DurationHistogram(), upgrade: new DurationHistogram() };
  #handled = 0;

  /** Counts a received message. */
  receive(bytes: number): void {
    this.received++;
    this.receivedBytes += bytes;
  }

  /** Counts a handled message. Returns whether its hook must be measured. */
  get measured(): boolean {
    return (++this.#handled & (SAMPLE_EVERY - 1)) === 0;
  }

  /** Counts the end of an open connection. The client may have chosen the code. */
  ended(code: number): void {
    this.closed[REGISTERED.has(code) ? code : "other"]!++;
  }

  /** Runs a hook and measures its duration, until the promise that it returned has settled. */
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
