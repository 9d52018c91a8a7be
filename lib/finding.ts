/**
 * What the certificate loader and `check` report: a stable code, how bad, the fact, and the remedy.
 * @module
 */

/** `ok` and `note` need no action; `warning` works for some clients; `error` works for none. */
export type Level = "ok" | "note" | "warning" | "error";

/** One observation about a certificate or an endpoint. */
export interface Finding {
  /** Stable and documented: machines and people search for it. Lower case, words joined by `-`. */
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
