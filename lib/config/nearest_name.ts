/**
 * Finds the known name that is nearest to a mistyped one.
 * @module
 */
import { levenshteinDistance } from "@std/text/levenshtein-distance";

/** Returns the known name nearest to the given one, or undefined if none is similar enough to suggest. */
export function findNearestName(given: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // A single letter is one change away from any other.
  let least = Math.min(given.length, Math.max(2, Math.floor(given.length / 3)) + 1);
  for (const name of known) {
    const distance: number = levenshteinDistance(given.toLowerCase(), name.toLowerCase());
    if (distance < least) [best, least] = [name, distance];
  }
  return best;
}
