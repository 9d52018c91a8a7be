/**
 * A report for a person (a table and a last paragraph) or for a machine (JSON).
 * @module
 */
import type { Level } from "../finding.ts";
import { escapeControls } from "../log.ts";
import type { ClientName } from "./check_target.ts";
import { type Observation, PROBES } from "./finding_codes.ts";
import type { Report, Verdict } from "./run_check.ts";

/** How to print. */
export interface ReportStyle {
  readonly colour: boolean;
  /** Columns to wrap at. Undefined: lines are not wrapped, as for pipes and files. */
  readonly width?: number;
}

const PROBE_WIDTH = Math.max(...PROBES.map((probe) => probe.length));
const LEVEL_WIDTH = "warning".length;
/** Where the text of an observation begins. */
const INDENT = PROBE_WIDTH + LEVEL_WIDTH + 4;
/** Below this many columns for the text, it stands under the probe's name in place of beside it. */
const LEAST_TEXT = 30;
const NARROW_INDENT = 2;

/** Escape sequences by level; ok is green, note dim, warning yellow, error red. */
const COLOURS: Readonly<Record<Level, string>> = { ok: "32", note: "2", warning: "33", error: "31" };

function coloured(text: string, level: Level, colour: boolean): string {
  return colour ? `\x1b[${COLOURS[level]}m${text}\x1b[0m` : text;
}

/** The table's lines for one observation: what was seen with its code, and below it the remedy. */
export function formatObservation(observation: Observation, { colour, width }: ReportStyle): string {
  const { probe, level, code, fact, remedy } = observation;
  const mark = coloured(level.padEnd(LEVEL_WIDTH), level, colour);
  const head = `${probe.padEnd(PROBE_WIDTH)}  ${mark}`;
  const text = `${escapeControls(fact)}${level === "ok" ? "" : ` [${code}]`}`;
  const beside = width === undefined || width - INDENT >= LEAST_TEXT;
  const indent = beside ? INDENT : NARROW_INDENT;
  const paragraphs = [text];
  if (remedy !== undefined) paragraphs.push(escapeControls(remedy));
  const lines = paragraphs.flatMap((paragraph) => wrap(paragraph, width, indent));
  if (!beside) return [head.trimEnd(), ...lines].join("\n");
  return [`${head}  ${lines[0]!.trimStart()}`, ...lines.slice(1)].join("\n");
}

const CLIENTS: Readonly<Record<ClientName, string>> = {
  browser: "a browser",
  wechat: "a WeChat mini program",
  android: "an Android app",
  java: "a Java client",
  nodejs: "a Node.js client",
  python: "a Python client",
};

/** The end of the report: a sentence on what was found, and as the last paragraph the remedy alone. */
export function formatVerdict(report: Report, { colour, width }: ReportStyle): string {
  const { first, verdict, for: client } = report;
  const who = client === undefined ? "a client" : CLIENTS[client];
  if (first === undefined) return coloured(`Sound: ${who} gets through.`, "ok", colour);
  const sentence = `${verdictSentence(verdict, who)}: ${escapeControls(first.fact)}`;
  const paragraphs = [sentence, ...first.remedy === undefined ? [] : [escapeControls(first.remedy)]];
  return paragraphs.map((paragraph) => {
    return coloured(wrap(paragraph, width, 0).join("\n"), first.level, colour);
  }).join("\n\n");
}

function verdictSentence(verdict: Verdict, who: string): string {
  const subject = `${who[0]!.toUpperCase()}${who.slice(1)}`;
  if (verdict === "unreachable") return `${subject} cannot reach the endpoint`;
  if (verdict === "unfinished") return "The check did not finish";
  if (verdict === "errors") return `${subject} does not get through`;
  return who === "a client"
    ? "Some clients do not get through, or not well"
    : `${subject} may not get through, or not well`;
}

/** The whole report as one line of JSON. */
export function formatJson(report: Report): string {
  return JSON.stringify(report);
}

/** Breaks a text at spaces. A word is never cut, so that a long URL can be copied. */
function wrap(text: string, width: number | undefined, indent: number): string[] {
  const margin = " ".repeat(indent);
  if (width === undefined) return [margin + text];
  const room = Math.max(10, width - indent);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && columns(line) + 1 + columns(word) <= room) {
      line += ` ${word}`;
      continue;
    }
    if (line !== "") lines.push(line);
    line = word;
  }
  return [...lines, line].map((each) => margin + each);
}

/** How many columns a text takes: East Asian characters take two. */
function columns(text: string): number {
  let count = 0;
  for (const character of text) {
    const code = character.codePointAt(0)!;
    const wide = (code >= 0x1100 && code <= 0x115f) || (code >= 0x2e80 && code <= 0xa4cf) ||
      (code >= 0xac00 && code <= 0xd7a3) || (code >= 0xf900 && code <= 0xfaff) || (code >= 0xfe30 && code <= 0xfe6f) ||
      (code >= 0xff00 && code <= 0xff60) || (code >= 0xffe0 && code <= 0xffe6) || (code >= 0x1f300 && code <= 0x1faff);
    count += wide ? 2 : 1;
  }
  return count;
}
