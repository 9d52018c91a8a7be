/**
 * Waiting, typed: the std package carries no types.
 * @module
 */
import { delay } from "@std/async/delay";

/** Resolves after so many milliseconds. */
export async function pause(ms: number): Promise<void> {
  await delay(ms);
}
