/**
 * How long work may take that waits for an authority.
 * @module
 */
import { formatDuration } from "../../duration_and_size.ts";
import { messageOf } from "../../errors.ts";

/** A time limit joined to a signal. */
export interface TimeLimit extends Disposable {
  readonly signal: AbortSignal;
  readonly milliseconds: number;
}

/** Begins one. The signal is aborted when the time is up, or when the parent's is; dispose of it when the work is done. */
export function timeLimit(milliseconds: number, parent: AbortSignal): TimeLimit {
  const controller = new AbortController();
  const end = () => controller.abort(parent.reason);
  if (parent.aborted) end();
  parent.addEventListener("abort", end, { once: true });
  const timer = setTimeout(() => controller.abort(new Error("the time is up")), milliseconds);
  return {
    signal: controller.signal,
    milliseconds,
    [Symbol.dispose]() {
      clearTimeout(timer);
      parent.removeEventListener("abort", end);
    },
  };
}

/** Why work failed: that its time was up, or what it threw. */
export function reasonOf(error: unknown, { signal, milliseconds }: TimeLimit): string {
  return signal.aborted ? `it was not done within ${formatDuration(milliseconds)}` : messageOf(error);
}
