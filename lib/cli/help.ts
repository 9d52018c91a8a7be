/**
 * Generates the help texts and the README's table from the option tables.
 * @module
 */
import { relative } from "node:path";
import { fileURLToPath } from "node:url";
import { flagOf, type Option, type OptionTable, TOPICS, variableOf } from "../config/option_table.ts";
import { shellWord } from "../tls/shell_command.ts";
import type { Command } from "./command_type.ts";

/** The name of the program in messages and in the help. */
export const PROGRAM = "wss";

/** The number of columns of a terminal of the usual size. */
export const WIDTH = 80;

const GENERAL: OptionTable = {
  help: { type: "switch", short: "h", default: false, help: "Show this help." },
  version: { type: "switch", short: "V", default: false, help: "Show the version." },
};

/** The text of `wss --help`: at most 24 lines. */
export function programHelp(commands: readonly Command[], version: string): string {
  const width = Math.max(...commands.map(({ name, group }) => group === undefined ? name.length : 0));
  return [
    `${PROGRAM} ${version}: the secure WebSocket service for Deno`,
    "",
    `usage: ${PROGRAM} [command] [options]`,
    "",
    "Commands (serve if none is named):",
    ...commands.filter(({ group }) => group === undefined)
      .map(({ name, summary }) => `  ${name.padEnd(width)}  ${summary}`),
    ...Map.groupBy(commands.filter(({ group }) => group !== undefined), ({ group }) => group!).entries()
      .map(([group, members]) => `  ${members.map(({ name }) => name).join(", ")}  ${group}`),
    "",
    "Examples:",
    `  ${PROGRAM}                                          try it: wss://localhost:8282/`,
    `  ${PROGRAM} --domain example.com --acme-agree-tos    on the internet, on port 443`,
    `  ${PROGRAM} --mode proxied                           behind nginx or Apache`,
    "",
    `${PROGRAM} COMMAND --help describes a command and lists its options.`,
    "Environment variables (WSS_MAX_PAYLOAD for --max-payload) and wss.json or",
    "--config FILE (maxPayload) also set options.",
    ...(Deno.build.standalone ? [] : wrapWords(
      [`Without the binary, ${PROGRAM} stands for:`, programWords().join(" ")],
      WIDTH,
    )),
    "",
  ].join("\n");
}

/** The text of `wss COMMAND --help`. */
export function commandHelp(command: Command): string {
  const { name, usage, summary, details, examples = [], options } = command;
  const lines = [`usage: ${PROGRAM} ${[name, usage].filter(Boolean).join(" ")} [options]`, ""];
  lines.push(...wrapText(toSentence(summary), WIDTH));
  if (details) lines.push("", ...details.split("\n").flatMap((paragraph) => wrapText(paragraph, WIDTH)));
  if (examples.length > 0) lines.push("", "Examples:");
  for (const [line, what] of examples) {
    lines.push(
      ...wrapShellCommand(line.match(/(?:-\S+ (?!-))?(?:'[^']*'|[^ ])+/g)!, WIDTH - 2).map((part) => `  ${part}`),
      `      ${what}`,
    );
  }
  const rows = Object.entries(options);
  for (const topic of [undefined, ...TOPICS]) {
    const about = rows.filter(([, option]) => option.topic === topic);
    if (about.length > 0) lines.push("", `${topic ?? "Options"}:`, ...optionLines(about));
  }
  lines.push("", "General:", ...optionLines(Object.entries(GENERAL)));
  return lines.join("\n") + "\n";
}

function optionLines(rows: readonly (readonly [key: string, option: Option])[]): string[] {
  return rows.flatMap(([key, option]) => {
    const name = option.variableOnly ? variableOf(key) : `${option.short ? `-${option.short}, ` : ""}${flagOf(key)}`;
    const fallback = option.default === false ? "" : describeDefault(option);
    const notes = [option.repeat && "repeatable", fallback && `default: ${fallback}`].filter(Boolean).join("; ");
    return [
      `  ${name}${describeValue(option)}`,
      ...wrapText(`${option.help}${notes ? ` (${notes})` : ""}`, WIDTH - 6).map((line) => `      ${line}`),
    ];
  });
}

/** Returns the shell words that start this program: the binary, or Deno with the path of main.ts. */
export function programWords(): string[] {
  if (Deno.build.standalone) return [shellWord(Deno.execPath())];
  const main = new URL(Deno.mainModule);
  const path = main.protocol === "file:" ? fileURLToPath(main) : main.href;
  const near = relative(Deno.cwd(), path);
  // If npx installed Deno, it is not on the PATH.
  const deno = /[\\/]_npx[\\/]/.test(Deno.execPath()) ? ["npx", "-y", `deno@${Deno.version.deno}`] : ["deno"];
  return [...deno, "run", "-A", shellWord(near.length < path.length ? near : path)];
}

/** Formats an option table as the Markdown table of the README. */
export function optionsMarkdown(table: OptionTable): string {
  const rows = Object.entries(table).map(([key, option]) => {
    const name = option.variableOnly ? variableOf(key) : `${flagOf(key)}${describeValue(option)}`;
    const fallback = describeDefault(option);
    const cells = [`\`${name}\`${option.repeat ? " (repeatable)" : ""}`, fallback ? `${fallback}` : "", option.help];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return ["| option | default | what it does |", "|---|---|---|", ...rows].join("\n");
}

function describeValue({ type, value, values }: Option): string {
  return type === "switch" ? "" : ` ${value ?? values?.join("|") ?? "VALUE"}`;
}

function describeDefault(option: Option): string {
  if (option.default === false) return "off";
  if (option.default === undefined) return option.unset ?? "";
  return typeof option.default === "string" ? option.default : option.default.join(", ");
}

function toSentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

/** Wraps text at spaces. A word that is longer than a line gets its own line. */
export function wrapText(text: string, width: number): string[] {
  return wrapWords(text.split(" "), width);
}

/**
 * Wraps a shell command. Each line except the last ends with a backslash.
 * @param words may be quoted and contain spaces; they are not split
 */
export function wrapShellCommand(words: readonly string[], width: number): string[] {
  const lines = wrapWords(words, width);
  if (lines.length === 1) return lines;
  // Reserves two columns for the indent, and two for the space and the backslash.
  return wrapWords(words, width - 4).map((line, at, all) =>
    `${at === 0 ? "" : "  "}${line}${at === all.length - 1 ? "" : " \\"}`
  );
}

function wrapWords(words: readonly string[], width: number): string[] {
  const lines: string[] = [];
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
