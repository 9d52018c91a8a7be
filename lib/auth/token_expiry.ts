/**
 * A timer for the expiry of a token.
 * @module
 */

/** The longest single timer: `setTimeout` accepts at most 2^31-1 ms (24.8 days), and the wall clock may be adjusted. */
const LONGEST = 3_600_000;

/**
 * Runs `callback` once, when the wall clock reaches a moment, however far off. The timer does not keep the process
 * alive; dispose of it when the connection ends.
 * @param at ms since the epoch, as in `Authenticated.expiresAt`
 * @param longest ms after which the clock is read again
 */
export function whenReached(at: number, callback: () => void, longest = LONGEST): Disposable {
  let timer: ReturnType<typeof setTimeout>;
  function arm(): void {
    timer = setTimeout(() => {
      if (Date.now() >= at) callback();
      else arm();
    }, Math.min(Math.max(0, at - Date.now()), longest));
    Deno.unrefTimer(timer);
  }
  arm();
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}
