/**
 * A typed delay: the std package has no types.
 * @module
 */
import { delay } from "@std/async/delay";

/** Resolves after a number of milliseconds. */
export async function pause(ms: number): Promise<void> {
  await delay(ms);
}
