/**
 * Prints the measurements of a test run.
 * @module
 */

/** The median. */
export function median(numbers: readonly number[]): number {
  return numbers.toSorted((one, other) => one - other)[numbers.length >> 1]!;
}

/** The greatest number, or 0 if there is none. */
export function most(values: readonly number[]): number {
  return values.reduce((one, other) => Math.max(one, other), 0);
}

/** Prints a line of rounded figures. */
export function figures(what: string, values: Readonly<Record<string, number>>): void {
  const text = Object.entries(values).map(([name, value]) => `${name} ${Math.round(value)}`).join(", ");
  // deno-lint-ignore no-console -- prints the figures
  console.info(`${what}: ${text}`);
}
