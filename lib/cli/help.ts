/**
 * Help texts and the README's table, from the option tables.
 * @module
 */
import { flagOf, type Option, type OptionTable, variableOf } from "../config/option_table.ts";
import type { Command } from "./command_type.ts";

/** How the program is called in help. */
export const PROGRAM = "wss";

const GENERAL: OptionTable = {
  help: { type: "switch", short: "h", default: false, help: "Show this." },
  version: { type: "switch", short: "V", default: false, help: "Show the version." },
};

/** What `wss --help` prints. */
export function programHelp(commands: readonly Command[], version: string): string {
  const width = Math.max(...commands.map(({ name, usage }) => `${name} ${usage}`.trim().length));
  const list = commands.map(({ name, usage, summary }) => `  ${`${name} ${usage}`.trim().padEnd(width)}  ${summary}`);
  return [
    `${PROGRAM} ${version}: the secure WebSocket service for Deno`,
    "",
    `usage: ${PROGRAM} [command] [options]`,
    "",
    "commands (serve where none is named):",
    ...list,
    "",
    `options of a command: ${PROGRAM} COMMAND --help`,
    ...(Deno.build.standalone ? [] : [`Without the binary, ${PROGRAM} stands for: deno run -A main.ts`]),
    "Options also come from variables (--max-payload is WSS_MAX_PAYLOAD) and from wss.json (maxPayload) or --config FILE.",
    "",
  ].join("\n");
}

/** What `wss COMMAND --help` prints. */
export function commandHelp(command: Command): string {
  const { name, usage, summary, details, examples = [], options } = command;
  const lines = [`usage: ${PROGRAM} ${[name, usage].filter(Boolean).join(" ")} [options]`, "", sentence(summary)];
  if (details) lines.push("", ...wrap(details, 100));
  lines.push("", "options:", ...optionLines({ ...options, ...GENERAL }));
  if (examples.length > 0) lines.push("", "examples:");
  for (const [line, what] of examples) lines.push(`  ${line}`, `      ${what}`);
  return lines.join("\n") + "\n";
}

function optionLines(table: OptionTable): string[] {
  return Object.entries(table).flatMap(([key, option]) => {
    const name = option.variableOnly ? variableOf(key) : `${option.short ? `-${option.short}, ` : ""}${flagOf(key)}`;
    const fallback = option.default === false ? "" : defaultOf(option);
    const notes = [option.repeat && "repeatable", fallback && `default: ${fallback}`].filter(Boolean).join("; ");
    return [
      `  ${name}${valueOf(option)}`,
      ...wrap(`${option.help}${notes ? ` (${notes})` : ""}`, 92).map((line) => `      ${line}`),
    ];
  });
}

/** The README's table of an option table. */
export function optionsMarkdown(table: OptionTable): string {
  const rows = Object.entries(table).map(([key, option]) => {
    const name = option.variableOnly ? variableOf(key) : `${flagOf(key)}${valueOf(option)}`;
    const fallback = defaultOf(option);
    const cells = [`\`${name}\`${option.repeat ? " (repeatable)" : ""}`, fallback ? `${fallback}` : "", option.help];
    return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  });
  return ["| option | default | what it does |", "|---|---|---|", ...rows].join("\n");
}

function valueOf({ type, value, values }: Option): string {
  return type === "switch" ? "" : ` ${value ?? values?.join("|") ?? "VALUE"}`;
}

function defaultOf(option: Option): string {
  if (option.default === false) return "off";
  if (option.default === undefined) return option.unset ?? "";
  return typeof option.default === "string" ? option.default : option.default.join(", ");
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

/** Breaks text at spaces; a longer word stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
