/**
 * Waits for a state of which no event tells.
 * @module
 */

/** Milliseconds after which `until` gives up: more than any state takes on a busy machine. */
const PATIENCE = 120_000;

/** Waits until a condition is met. @throws {Error} with the condition's source if it is not met in time */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!await condition()) {
    if (performance.now() > deadline) throw new Error(`not met within ${PATIENCE / 1000} s: ${condition}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
