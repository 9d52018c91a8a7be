/**
 * What was found, for a person (a table, top to bottom) or for a machine (JSON).
 * @module
 */
import type { Level } from "../finding.ts";
import { escapeControls } from "../log.ts";
import { type Observation, PROBES } from "./finding_codes.ts";
import type { Report } from "./run_check.ts";

const WIDTH = Math.max(...PROBES.map((probe) => probe.length));

/** Escape sequences by level; ok is green, note dim, warning yellow, error red. */
const COLOURS: Readonly<Record<Level, string>> = { ok: "32", note: "2", warning: "33", error: "31" };

function coloured(text: string, level: Level, colour: boolean): string {
  return colour ? `\x1b[${COLOURS[level]}m${text}\x1b[0m` : text;
}

/** The table's lines for one observation: what was seen, the code where it is worth a search, the remedy below. */
export function formatObservation(observation: Observation, colour: boolean): string {
  const { probe, level, code, fact, remedy } = observation;
  const margin = " ".repeat(WIDTH + 11);
  const mark = coloured(level.padEnd(7), level, colour);
  const suffix = level === "ok" ? "" : ` [${code}]`;
  const lines = [`${probe.padEnd(WIDTH)}  ${mark}  ${escapeControls(fact)}${suffix}`];
  if (remedy !== undefined && (level === "error" || level === "warning")) {
    lines.push(`${margin}${escapeControls(remedy)}`);
  }
  return lines.join("\n");
}

/** The last line: the first error (or else the first warning) with its remedy in one sentence, or that all is well. */
export function formatVerdict(report: Report, colour: boolean): string {
  const { first } = report;
  if (first === undefined) return coloured("Sound: a client gets through.", "ok", colour);
  const clause = (text: string) => escapeControls(text).trim().replace(/[.]$/, "");
  const remedy = first.remedy === undefined ? "" : ` What to do: ${clause(first.remedy)}.`;
  const lead = first.level === "error"
    ? "A client does not get through"
    : "Some clients do not get through, or not well";
  return coloured(`${lead}: ${clause(first.fact)}.${remedy}`, first.level, colour);
}

/** The whole report as one line of JSON. */
export function formatJson(report: Report): string {
  return JSON.stringify(report);
}
