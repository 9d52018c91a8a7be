/**
 * A finding of the certificate loader or of `check`: a stable code, a severity, the observation, and the remedy.
 * @module
 */

/** `ok` and `note` need no action; with a `warning` some clients fail; with an `error` all clients fail. */
export type Level = "ok" | "note" | "warning" | "error";

/** One observation about a certificate or an endpoint. */
export interface Finding {
  /** Stable and documented, because people and programs search for it. Lower case, words joined by `-`. */
  readonly code: string;
  readonly level: Level;
  /** What was seen: one sentence. */
  readonly fact: string;
  /** What to do about it: one sentence. Warnings and errors always have one. */
  readonly remedy?: string;
}

/** Makes a finding. */
export function finding(code: string, level: Level, fact: string, remedy?: string): Finding {
  return remedy === undefined ? { code, level, fact } : { code, level, fact, remedy };
}
