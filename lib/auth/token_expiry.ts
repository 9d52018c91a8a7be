/**
 * The end of a token's life.
 * @module
 */

/** At most an hour at a time: `setTimeout` takes no more than 2^31-1 ms (24.8 days), and wall clocks are set. */
const LONGEST = 3_600_000;

/**
 * Runs `callback` once, when the wall clock has reached a moment, however far off. The timer keeps no process alive;
 * dispose of it when the connection ends.
 * @param at ms of the epoch, as in `Authenticated.expiresAt`
 * @param longest ms after which the clock is looked at again
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
