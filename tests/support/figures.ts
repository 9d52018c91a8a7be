/**
 * Figures of a run: what a test measured, for whoever reads it.
 * @module
 */

/** The value that half of the numbers do not exceed. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[numbers.length >> 1]!;
}

/** The greatest, or 0. */
export function most(values: readonly number[]): number {
  return values.reduce((one, other) => Math.max(one, other), 0);
}

/** Prints a line of them, rounded. */
export function figures(what: string, values: Readonly<Record<string, number>>): void {
  const text = Object.entries(values).map(([name, value]) => `${name} ${Math.round(value)}`).join(", ");
  // deno-lint-ignore no-console -- prints the figures
  console.info(`${what}: ${text}`);
}
