/**
 * The nearest known name to a mistyped one.
 * @module
 */
import { levenshteinDistance } from "@std/text/levenshtein-distance";

/** The known name nearest to what was given, or undefined where none is near enough to be what was meant. */
export function nearest(given: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // Of a single letter any other is one change away.
  let least = Math.min(given.length, Math.max(2, Math.floor(given.length / 3)) + 1);
  for (const name of known) {
    const distance: number = levenshteinDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}
