/**
 * Time limits for work that waits for an authority.
 * @module
 */
import { formatDuration } from "../../duration_and_size.ts";
import { messageOf } from "../../errors.ts";

/** A time limit combined with a signal. */
export interface TimeLimit extends Disposable {
  readonly signal: AbortSignal;
  readonly milliseconds: number;
}

/** Starts a time limit. Its signal aborts when the time is over or the parent aborts; dispose of it after the work. */
export function timeLimit(milliseconds: number, parent: AbortSignal): TimeLimit {
  const controller = new AbortController();
  const end = () => controller.abort(parent.reason);
  if (parent.aborted) end();
  parent.addEventListener("abort", end, { once: true });
  const timer = setTimeout(() => controller.abort(new Error("the time limit passed")), milliseconds);
  return {
    signal: controller.signal,
    milliseconds,
    [Symbol.dispose]() {
      clearTimeout(timer);
      parent.removeEventListener("abort", end);
    },
  };
}

/** Why work failed: its time limit passed, or the message of what it threw. */
export function reasonOf(error: unknown, { signal, milliseconds }: TimeLimit): string {
  return signal.aborted ? `it did not finish within ${formatDuration(milliseconds)}` : messageOf(error);
}
