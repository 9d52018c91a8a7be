/**
 * Formats the figures as text.
 * @module
 */
import { type Case, cpuPerMessage, type Goal } from "./cases.ts";
import type { Measured } from "./job.ts";
import type { ServerName } from "./server.ts";

/** The measurements of each server in each round of a case. */
export type Rounds = ReadonlyMap<ServerName, readonly Measured[]>;

/** If the load generator uses this share of a core or more, it counts as the limit. */
const SATURATED = 0.9;
/** Decimals of a goal's figure. The strictest goals are one percent. */
const DECIMALS = 3;

/** Returns the median. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return sorted.length % 2 === 1 ? sorted[Math.floor(middle)]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** The result for a goal: the median of the rounds, its quartiles, and whether the goal is met. */
export interface Reached {
  readonly figure: number;
  readonly quartiles: readonly [lower: number, upper: number];
  readonly met: boolean;
}

/** Compares the rounds with a goal. Undefined if the other server was not measured. */
export function reached(goal: Goal, rounds: Rounds): Reached | undefined {
  const ours = rounds.get("wss");
  const theirs = goal.beside === undefined ? ours : rounds.get(goal.beside);
  if (!ours || !theirs) return undefined;
  // Compared round by round, because a disturbance affects both servers of a round.
  const figures = ours.map((measured, i) => goal.figure(measured, theirs[i]!)).sort((one, other) => one - other);
  const figure = median(figures);
  const quartile = (part: number) => figures[Math.round((figures.length - 1) * part)]!;
  const met = figure <= (goal.most ?? Infinity) && figure >= (goal.least ?? -Infinity);
  return { figure, quartiles: [quartile(0.25), quartile(0.75)], met };
}

/** Formats a case as a table, followed by its goals. */
export function describe(it: Case, rounds: Rounds): string {
  const head = ["", `${it.unit}/s`, "p50 ms", "p90", "p99", "max", "CPU µs each", "server", "generator"];
  if (it.load.kind === "idle") head.push("KiB each", "KiB per additional");
  if (it.load.kind === "burst") head.push("failed");
  const lines = [it.title, ...table([head, ...[...rounds].map(([name, each]) => row(it, name, each))])];
  for (const [name, each] of rounds) {
    const generator = median(each.map((measured) => measured.generatorCpu / measured.seconds));
    if (!it.timed || generator < SATURATED) continue;
    lines.push(
      `  ${name}: the load generator uses ${percent(generator)} of a core and limits the throughput; compare the CPU`,
    );
  }
  for (const goal of it.goals) {
    const result = reached(goal, rounds);
    if (result === undefined) continue;
    const bound = goal.most !== undefined ? `at most ${goal.most}` : `at least ${goal.least}`;
    const [figure, lower, upper] = [result.figure, ...result.quartiles].map((each) => each.toFixed(DECIMALS));
    const spread = `half of the rounds ${lower} to ${upper}`;
    lines.push(
      `  ${result.met ? "met" : "MISSED"}: ${goal.what}: ${figure}${goal.unit} (${bound}${goal.unit}; ${spread})`,
    );
  }
  return lines.join("\n");
}

function row(it: Case, name: ServerName, each: readonly Measured[]): string[] {
  const of = (figure: (measured: Measured) => number) => median(each.map(figure));
  const latencies = (["p50", "p90", "p99", "max"] as const).map((key) => of(({ latency }) => latency[key]));
  const cells = [
    name,
    Math.round(of(({ count, seconds }) => count / seconds)).toLocaleString("en"),
    ...latencies.map((ms) => ms === 0 ? "" : ms.toFixed(ms < 10 ? 2 : 0)),
    (of(cpuPerMessage) * 1e6).toFixed(2),
    percent(of(({ serverCpu, seconds }) => serverCpu / seconds)),
    percent(of(({ generatorCpu, seconds }) => generatorCpu / seconds)),
  ];
  if (it.load.kind === "idle") {
    cells.push(
      kibibytes(of(({ memory }) => memory?.resident ?? NaN)),
      kibibytes(of(({ memory }) => memory?.held ?? NaN)),
    );
  }
  if (it.load.kind === "burst") cells.push(String(of(({ failed }) => failed)));
  return cells;
}

function percent(part: number): string {
  return `${Math.round(part * 100)} %`;
}

function kibibytes(bytes: number): string {
  return (bytes / 1024).toFixed(1);
}

/** Aligns names to the left and figures to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    "  " + row.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ")
  );
}
