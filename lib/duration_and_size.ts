/**
 * Sizes and durations as people write them: `1MiB`, `30s`.
 * @module
 */

const SIZES: Readonly<Record<string, number>> = { KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 };
const DURATIONS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000 };

/**
 * Parses a size in bytes: a whole number of bytes, or a number with KiB, MiB or GiB. Rounds to whole bytes.
 * @throws {RangeError} for anything else
 */
export function parseSize(text: string): number {
  const match = /^(?:(\d+)\s*B?|(\d+(?:\.\d+)?)\s*(KiB|MiB|GiB))$/.exec(text.trim());
  const bytes = match ? toWhole(match, SIZES) : NaN;
  if (!Number.isSafeInteger(bytes)) {
    throw new RangeError(
      `a size is a whole number of bytes, or a number with KiB, MiB or GiB (64KiB, 1MiB), not "${text}"`,
    );
  }
  return bytes;
}

/**
 * Parses a duration in milliseconds: a whole number with ms, or a number with s, m or h; `0` needs no unit. Rounds to
 * whole milliseconds.
 * @throws {RangeError} for anything else
 */
export function parseDuration(text: string): number {
  const match = /^(?:(\d+)\s*ms|(\d+(?:\.\d+)?)\s*(s|m|h))$/.exec(text.trim());
  const ms = match ? toWhole(match, DURATIONS) : text.trim() === "0" ? 0 : NaN;
  if (!Number.isSafeInteger(ms)) {
    throw new RangeError(
      `a duration is a whole number of ms, or a number with s, m or h (500ms, 30s, 5m), not "${text}"`,
    );
  }
  return ms;
}

/** Returns the smallest units as a whole number, or NaN if it would round to 0: 0 often means unlimited. */
function toWhole([, whole, number, unit]: RegExpExecArray, units: Readonly<Record<string, number>>): number {
  if (unit === undefined) return Number(whole);
  const exact = Number(number) * units[unit]!;
  return exact > 0 && exact < 0.5 ? NaN : Math.round(exact);
}

/** The shortest exact way to write a size: `1MiB`, `1536B`. */
export function formatSize(bytes: number): string {
  for (const unit of ["GiB", "MiB", "KiB"]) {
    if (bytes !== 0 && bytes % SIZES[unit]! === 0) return `${bytes / SIZES[unit]!}${unit}`;
  }
  return `${bytes}B`;
}

/** The shortest exact way to write a duration: `30s`, `1500ms`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0";
  for (const unit of ["h", "m", "s"]) {
    if (ms % DURATIONS[unit]! === 0) return `${ms / DURATIONS[unit]!}${unit}`;
  }
  return `${ms}ms`;
}
