/**
 * Formats a report as text (a table and a conclusion) or as JSON.
 * @module
 */
import type { Level } from "../diagnostic_finding.ts";
import { escapeControls } from "../log.ts";
import type { ClientName } from "./check_options.ts";
import { type Observation, PROBES } from "./finding_codes.ts";
import type { Report, Verdict } from "./run_check.ts";

/** How to format the text. */
export interface ReportStyle {
  readonly colour: boolean;
  /** The column to wrap lines at. Undefined: lines are not wrapped, as for pipes and files. */
  readonly width?: number;
}

const PROBE_WIDTH = Math.max(...PROBES.map((probe) => probe.length));
const LEVEL_WIDTH = "warning".length;
/** The column at which the text of an observation begins. */
const INDENT = PROBE_WIDTH + LEVEL_WIDTH + 4;
/** With fewer columns than this, the text is printed below the probe's name instead of next to it. */
const MIN_TEXT_WIDTH = 30;
const NARROW_INDENT = 2;

/** Escape sequences by level; ok is green, note dim, warning yellow, error red. */
const COLOURS: Readonly<Record<Level, string>> = { ok: "32", note: "2", warning: "33", error: "31" };

function coloured(text: string, level: Level, colour: boolean): string {
  return colour ? `\x1b[${COLOURS[level]}m${text}\x1b[0m` : text;
}

/** Formats one observation as lines of the table: the fact and its code, and below them the remedy. */
export function formatObservation(observation: Observation, { colour, width }: ReportStyle): string {
  const { probe, level, code, fact, remedy } = observation;
  const mark = coloured(level.padEnd(LEVEL_WIDTH), level, colour);
  const head = `${probe.padEnd(PROBE_WIDTH)}  ${mark}`;
  const text = `${escapeControls(fact)}${level === "ok" ? "" : ` [${code}]`}`;
  const isTextInRow = width === undefined || width - INDENT >= MIN_TEXT_WIDTH;
  const indent = isTextInRow ? INDENT : NARROW_INDENT;
  const paragraphs = [text];
  if (remedy !== undefined) paragraphs.push(escapeControls(remedy));
  const lines = paragraphs.flatMap((paragraph) => wrap(paragraph, width, indent));
  if (!isTextInRow) return [head.trimEnd(), ...lines].join("\n");
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

/** Formats the conclusion: one sentence with the first problem, and its remedy as the last paragraph. */
export function formatVerdict(report: Report, { colour, width }: ReportStyle): string {
  const { first, verdict, for: client } = report;
  const who = client === undefined ? "a client" : CLIENTS[client];
  if (first === undefined) return coloured(`No problems found: ${who} can connect.`, "ok", colour);
  const sentence = `${verdictSentence(first, verdict, who)}: ${escapeControls(first.fact)}`;
  const paragraphs = [sentence, ...first.remedy === undefined ? [] : [escapeControls(first.remedy)]];
  return paragraphs.map((paragraph) => {
    return coloured(wrap(paragraph, width, 0).join("\n"), first.level, colour);
  }).join("\n\n");
}

/** Whether a finding is about the machine that runs the check. Another machine may reach the endpoint. */
function isLocal({ code }: Observation): boolean {
  return code === "tcp-not-tried" || code === "dns-no-resolver";
}

function verdictSentence(first: Observation, verdict: Verdict, who: string): string {
  const subject = `${who[0]!.toUpperCase()}${who.slice(1)}`;
  if (verdict === "unreachable") return `${isLocal(first) ? "This machine" : subject} cannot reach the endpoint`;
  if (verdict === "unfinished") return "The check did not finish";
  if (verdict === "errors") return `${subject} cannot connect`;
  return who === "a client"
    ? "Some clients cannot connect, or their connection is unreliable"
    : `${subject} may be unable to connect, or its connection may be unreliable`;
}

/** Formats the report as one line of JSON. */
export function formatJson(report: Report): string {
  return JSON.stringify(report);
}

/** Breaks text at spaces. A word is never broken, so that a long URL can be copied. */
function wrap(text: string, width: number | undefined, indent: number): string[] {
  const margin = " ".repeat(indent);
  if (width === undefined) return [margin + text];
  const room = Math.max(10, width - indent);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && countColumns(line) + 1 + countColumns(word) <= room) {
      line += ` ${word}`;
      continue;
    }
    if (line !== "") lines.push(line);
    line = word;
  }
  return [...lines, line].map((each) => margin + each);
}

/** Counts the columns of a text; East Asian characters take two. */
function countColumns(text: string): number {
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
