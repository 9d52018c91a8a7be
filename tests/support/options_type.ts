/**
 * Generates the type of `serve()`'s options from the option table, so that an editor shows a description of each
 * property. `WSS_UPDATE=1 deno test -A tests/config/service_options_type_test.ts` regenerates the file.
 */
import type { Option, OptionTable } from "../../lib/config/option_table.ts";

/** The text of the file for an option table. It is unformatted, because `deno fmt` has its own rules for long lines. */
export function optionsType(table: OptionTable): string {
  const properties = Object.entries(table).flatMap(([key, option]) => [
    ...comment(option),
    `  readonly ${key}?: ${typeOf(option)} | undefined;`,
  ]);
  return `/**
 * The options of \`serve()\`. This file is generated from the option table (service_options.ts); a test compares them.
 * @module
 */

/**
 * What \`serve()\` takes. Sizes are numbers of bytes or text (\`"1MiB"\`), durations numbers of milliseconds or text
 * (\`"30s"\`). Every option may be left out.
 */
export interface ServiceOptions {
${properties.join("\n")}
}
`;
}

function comment(option: Option): string[] {
  const fallback = option.default === undefined
    ? option.unset
    : option.default === false
    ? "off"
    : typeof option.default === "string"
    ? option.default
    : option.default.join(", ");
  const text = `${option.help}${fallback ? ` Default: ${fallback}.` : ""}`;
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < 112) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines.length === 1 && lines[0]!.length <= 110
    ? [`  /** ${lines[0]} */`]
    : ["  /**", ...lines.map((line) => `   * ${line}`), "   */"];
}

function typeOf(option: Option): string {
  const single = {
    switch: "boolean",
    count: "number",
    port: "number",
    size: "number | string",
    duration: "number | string",
    tls: '"1.2" | "1.3"',
    choice: option.values?.map((value) => `"${value}"`).join(" | ") ?? "string",
    text: "string",
    path: "string",
    module: "string",
    cidr: "string",
    address: "string",
  }[option.type];
  if (!option.repeat) return single;
  return single.includes("|") ? `readonly (${single})[]` : `readonly ${single}[]`;
}
