/**
 * Parses a command line: `@std/cli` splits it, and the option table defines the known flags.
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { flagOf, type Option, type OptionTable } from "./option_table.ts";
import { findNearestName } from "./nearest_name.ts";

/** The texts of flags, by camelCase key. The text of a switch is `true` or `false`. */
export type RawValues = ReadonlyMap<string, readonly string[]>;

/** A parsed command line. `problems` is empty if it is correct. */
export interface CommandLine {
  readonly values: RawValues;
  readonly positionals: readonly string[];
  readonly problems: readonly string[];
}

/** Splits a command line into the table's flags and positional arguments, and collects every error. */
export function parseFlags(args: readonly string[], table: OptionTable): CommandLine {
  const problems: string[] = [];
  const keys = Object.keys(table).filter((key) => !table[key]!.variableOnly);
  const names = new Map(keys.map((key) => [flagOf(key).slice(2), key]));
  const switches = keys.filter((key) => table[key]!.type === "switch").map((key) => flagOf(key).slice(2));
  const texts = [...names.keys()].filter((name) => !switches.includes(name));
  const alias = Object.fromEntries(
    keys.flatMap((key) => table[key]!.short ? [[table[key]!.short!, flagOf(key).slice(2)]] : []),
  );

  // deno-std carries no types: this is the boundary, and the result is read only as unknown below.
  const parsed: Record<string, unknown> = parseArgs([...args], {
    boolean: switches,
    negatable: switches,
    string: [...texts, "_"],
    collect: texts,
    alias,
    "--": true,
    unknown(argument: string, name?: string) {
      if (name === undefined) return true;
      problems.push(describeUnknownFlag(argument, name, [...names.keys()], table));
      return false;
    },
  });

  // Arguments after -- are not flags.
  const beforeSeparator = args.includes("--") ? args.slice(0, args.indexOf("--")) : args;
  for (const argument of beforeSeparator) {
    // `parseArgs` takes --no-port=80 for --port=80.
    const name = /^--no-([^=]+)=/.exec(argument)?.[1];
    if (name !== undefined && names.has(name) && !names.has(`no-${name}`)) {
      problems.push(
        switches.includes(name)
          ? `--no-${name} takes no value`
          : describeUnknownFlag(argument, `no-${name}`, [...names.keys()], table),
      );
    }
  }
  const values = new Map<string, readonly string[]>();
  for (const [name, key] of names) {
    const option: Option = table[key]!;
    if (option.type === "switch") {
      const wrong = beforeSeparator.find((arg) => arg.startsWith(`--${name}=`) && !/=(?:true|false)$/.test(arg));
      if (wrong !== undefined) problems.push(`--${name}: must be true or false, not "${wrong.slice(name.length + 3)}"`);
      else if (beforeSeparator.some((arg) => isSwitch(arg, name, option.short))) {
        values.set(key, [String(parsed[name] === true)]);
      }
      continue;
    }
    const list = (parsed[name] as unknown[]).map(String);
    if (list.length === 0) continue;
    if (list.includes("") && !(option.emptyAllowed && hasEmptyValue(beforeSeparator, name, option.short))) {
      problems.push(`--${name} needs a value: --${name} ${option.value ?? option.values?.join("|") ?? "VALUE"}`);
    } else values.set(key, option.repeat ? list : list.slice(-1));
  }
  const rest = (parsed["--"] ?? []) as unknown[];
  // An unset shell variable leaves an empty argument: `serve "$EXTRA"`. After -- an empty argument is meant.
  const positionals = [...(parsed["_"] as unknown[]).filter((text) => text !== ""), ...rest].map(String);
  return { values, positionals, problems };
}

/** Whether the value is an empty text (`-x ""`), not missing (`-x` at the end). */
function hasEmptyValue(args: readonly string[], name: string, short: string | undefined): boolean {
  return args.some((argument, at) =>
    argument === `--${name}=` || ((argument === `--${name}` || argument === `-${short}`) && args[at + 1] === "")
  );
}

function isSwitch(argument: string, name: string, short: string | undefined): boolean {
  return argument === `--${name}` || argument === `--no-${name}` || argument.startsWith(`--${name}=`) ||
    (short !== undefined && /^-[a-zA-Z]+$/.test(argument) && argument.includes(short));
}

function describeUnknownFlag(argument: string, name: string, known: readonly string[], table: OptionTable): string {
  const secret = Object.keys(table).find((key) => table[key]!.variableOnly && flagOf(key) === `--${name}`);
  if (secret !== undefined) {
    return `--${name} is not accepted on the command line, because every user of the machine can read it there: ` +
      `use --${name}-file or the environment variable`;
  }
  const shown = argument.split("=", 1)[0]!;
  const guess = findNearestName(name.replace(/^no-/, ""), known);
  if (guess !== undefined) return `unknown option ${shown}: did you mean --${guess}?`;
  return `unknown option ${shown}${/^-\d/.test(argument) ? "; write -- before an argument that begins with -" : ""}`;
}
