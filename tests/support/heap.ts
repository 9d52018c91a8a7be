/**
 * Measures the heap of this test file.
 * @module
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

let gc: (() => void) | undefined;

/** Collects all garbage. An object whose last use was in this turn of the event loop may remain. */
export function collectGarbage(): void {
  if (gc === undefined) {
    setFlagsFromString("--expose-gc");
    gc = runInNewContext("gc") as () => void;
  }
  gc();
}

/** The bytes of the heap that are in use after a garbage collection. */
export function usedHeap(): number {
  collectGarbage();
  return Deno.memoryUsage().heapUsed;
}
