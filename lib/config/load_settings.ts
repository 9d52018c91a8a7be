/**
 * Merges flags, environment variables, the configuration file and defaults according to an option table, and reports
 * all errors at once. Only this folder reads `Deno.env`.
 * @module
 */
import { dirname, isAbsolute, join } from "node:path";
import { messageOf, readFailure, UsageError } from "../errors.ts";
import { decodeText } from "../text_file.ts";
import { flagOf, type Option, type OptionTable, parseValue, type Values, variableOf } from "./option_table.ts";
import type { RawValues } from "./command_line.ts";
import { findNearestName } from "./nearest_name.ts";

/** The configuration file that is read if `--config` does not name another. */
export const CONFIG_FILE = "wss.json";

/** The sources of values, in the order of precedence. */
export interface Sources {
  /** From the command line. */
  readonly flags?: RawValues;
  /** The environment variables. If undefined, they are not read. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Options given in code, or read from a file. */
  readonly object?: {
    readonly values: object;
    /** The path of the file, which precedes a key in messages. */
    readonly name?: string;
    /** The folder to which relative paths are relative. Default: the working directory. */
    readonly folder?: string;
  };
}

/** Settings, and the name under which each one was given. */
export interface LoadedSettings<T extends OptionTable, C> {
  readonly settings: Values<T>;
  /** The result of `rules`. */
  readonly checked: C;
  /** By key: `--max-payload`, `WSS_MAX_PAYLOAD`, `wss.json: maxPayload`. */
  readonly given: ReadonlyMap<string, string>;
  /** Notes for the operator that are not errors: one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Validates combinations of settings and returns a result. If it throws a UsageError, its problems are reported together
 * with the others.
 */
export type Rules<T extends OptionTable, C> = (
  settings: Values<T>,
  given: ReadonlyMap<string, string>,
  /** Keys whose values are invalid; `settings` has their defaults. */
  invalid: ReadonlySet<string>,
) => C;

/**
 * Merges the sources according to the table.
 * @param earlierProblems problems that were found before, reported with the others
 * @param rules run even if a value is invalid, so that all problems are reported at once
 * @throws {UsageError} with the problems of all sources
 */
export function loadSettings<T extends OptionTable, C = undefined>(
  table: T,
  { variables: environment, ...others }: Sources,
  earlierProblems: readonly string[] = [],
  rules?: Rules<T, C>,
): LoadedSettings<T, C> {
  const { variables, serviceLinks } = removeServiceLinks(environment ?? {});
  const sources: Sources = { ...others, variables };
  const problems = [...earlierProblems];
  const settings: Record<string, unknown> = {};
  const given = new Map<string, string>();
  const invalid = new Set<string>();

  for (const [key, option] of Object.entries(table)) {
    const found = findInFlags(key, sources) ?? findInVariables(key, option, sources) ??
      findInObject(key, option, sources);
    if (found) given.set(key, found.label);
    const errors: string[] = [];
    let values = parseValues(option, found?.texts ?? defaultTexts(option), errors, others.object?.name === undefined);
    if (errors.length > 0) {
      problems.push(...errors.map((error) => `${found?.label}: ${error}`));
      invalid.add(key);
      values = parseValues(option, defaultTexts(option), []);
    }
    if (values.length > 0 || option.repeat) settings[key] = option.repeat ? values : values[0];
  }
  problems.push(...findUnknownNames(table, sources));
  let checked: C | undefined;
  try {
    checked = rules?.(settings as Values<T>, given, invalid);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems);
  }
  if (problems.length > 0) throw new UsageError(problems);
  const notes = serviceLinks.length === 0 ? [] : [
    `Kubernetes service links are ignored: ${
      serviceLinks.join(", ")
    }. They come from a Service whose name begins with wss; ` +
    `enableServiceLinks: false in the pod's spec omits them.`,
  ];
  // Without rules, C is undefined. With rules, they have returned a result.
  return { settings: settings as Values<T>, given, notes, checked: checked as C };
}

/**
 * Merges flags, variables and the configuration file.
 * @param earlierProblems problems that were found before, reported with the others
 * @throws {UsageError} with the problems of all sources
 */
export function loadWithFile<T extends OptionTable, C = undefined>(
  table: T,
  sources: { readonly flags: RawValues; readonly variables: Readonly<Record<string, string>> },
  earlierProblems: readonly string[],
  rules?: Rules<T, C>,
): LoadedSettings<T, C> {
  let object: Sources["object"];
  try {
    object = readConfigFile(sources.flags.get("config")?.at(-1) ?? (sources.variables.WSS_CONFIG || undefined));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // The rules are skipped: the settings of the file are missing.
    return loadSettings(table, sources, [...earlierProblems, ...error.problems]);
  }
  return loadSettings(table, { ...sources, ...(object && { object }) }, earlierProblems, rules);
}

/**
 * Reads the configuration file: the named one, or `wss.json` if it exists.
 * @throws {UsageError} if a named file is missing, or the content is not a JSON object
 */
export function readConfigFile(path: string | undefined): Sources["object"] {
  const file = path ?? CONFIG_FILE;
  let text: string;
  try {
    text = decodeText(Deno.readFileSync(file));
  } catch (error) {
    if (path === undefined && error instanceof Deno.errors.NotFound) return undefined;
    throw new UsageError(`Cannot read the configuration file ${file}: ${readFailure(error)}`);
  }
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`Cannot read the configuration file ${file}: it is not JSON (${messageOf(error)})`);
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new UsageError(`Cannot read the configuration file ${file}: it must be one object of options`);
  }
  return { values, name: file, folder: dirname(file) };
}

/**
 * Reads the environment variables that begin with WSS_. If only some variables may be read (`--allow-env=WSS_PORT`,
 * `--deny-env=HOME`), reads those of the table that are permitted. Then unknown variables cannot be reported.
 */
export function readVariables(table: OptionTable): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => name.startsWith("WSS_")));
  } catch (error) {
    if (!(error instanceof Deno.errors.NotCapable)) throw error;
  }
  const variables: Record<string, string> = {};
  for (const name of ["WSS_CONFIG", ...Object.keys(table).map(variableOf)]) {
    const text = readPermittedVariable(name);
    if (text !== undefined) variables[name] = text;
  }
  return variables;
}

/** Reads the variable with which a predecessor hands its port over to this process. */
export function readHandoverVariable(): string | undefined {
  return readPermittedVariable("WSS_HANDOVER");
}

/**
 * Whether this process is the main process of a systemd service. When it ends, systemd also ends the processes that it
 * started (KillMode, systemd.kill(5)).
 * @param parent the process that started this one
 */
export function isSystemdService(parent: number): boolean {
  if (readPermittedVariable("SYSTEMD_EXEC_PID") === String(Deno.pid)) return true;
  // systemd before 248 does not pass the process id.
  return parent === 1 && readPermittedVariable("INVOCATION_ID") !== undefined;
}

/** Reads the variable with which a supervisor configures this worker process. */
export function readWorkerVariable(): string | undefined {
  return readPermittedVariable("WSS_WORKER");
}

/** Reads a variable. Returns undefined if reading it is not permitted. */
function readPermittedVariable(variable: string): string | undefined {
  const granted = Deno.permissions.querySync({ name: "env", variable }).state === "granted";
  return granted ? Deno.env.get(variable) : undefined;
}

/**
 * Removes empty variables and the service links of Kubernetes. An empty variable counts as unset, because docker compose
 * sets `WSS_PORT=` for a missing value. Service links look like options: for a Service `wss`, they are
 * `WSS_SERVICE_HOST`, `WSS_PORT=tcp://10.96.12.7:8282`, `WSS_PORT_8282_TCP_ADDR`; for `wss-chat`,
 * `WSS_CHAT_SERVICE_HOST` and so on.
 * @see https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
function removeServiceLinks(
  environment: Readonly<Record<string, string>>,
): { variables: Readonly<Record<string, string>>; serviceLinks: readonly string[] } {
  const variables: Record<string, string> = {};
  const serviceLinks: string[] = [];
  for (const [name, text] of Object.entries(environment)) {
    if (text === "") continue;
    if (SERVICE_LINK.test(name) || (/_PORT$/.test(name) && /^(?:tcp|udp|sctp):\/\//.test(text))) {
      serviceLinks.push(name);
    } else variables[name] = text;
  }
  return { variables, serviceLinks };
}

const SERVICE_LINK = /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/;

/** The values of one option in one source. */
interface FoundValues {
  readonly texts: readonly unknown[];
  readonly label: string;
}

function findInFlags(key: string, { flags }: Sources): FoundValues | undefined {
  const texts = flags?.get(key);
  return texts && { texts, label: flagOf(key) };
}

function findInVariables(key: string, option: Option, { variables }: Sources): FoundValues | undefined {
  const name = variableOf(key);
  const text = option.flagOnly ? undefined : variables?.[name];
  if (text === undefined) return undefined;
  return { texts: option.repeat ? text.split(",").map((part) => part.trim()) : [text], label: name };
}

function findInObject(key: string, option: Option, { object }: Sources): FoundValues | undefined {
  const value = option.flagOnly ? undefined : (object?.values as Readonly<Record<string, unknown>> | undefined)?.[key];
  if (value === undefined) return undefined;
  const label = labelOf(key, object);
  const list = option.repeat && Array.isArray(value) ? value : [value];
  const folder = object?.folder;
  if (folder === undefined || folder === ".") return { texts: list, label };
  return { texts: list.map((text) => typeof text === "string" ? resolvePath(option, folder, text) : text), label };
}

/** Resolves the relative path of an option, a module or a unix socket from a folder. Other values are returned unchanged. */
export function resolvePath({ type }: Option, folder: string, text: string): string {
  const socket = type === "address" ? /^unix:(?=[^/])(.+)$/s.exec(text)?.[1] : undefined;
  if (socket !== undefined) return `unix:${join(folder, socket)}`;
  const isPath = type === "path" ? text !== "" : type === "module" && /[/\\.]/.test(text) && !/^[a-z]{2,}:/.test(text);
  return isPath && !isAbsolute(text) ? join(folder, text) : text;
}

function labelOf(key: string, object: Sources["object"]): string {
  return object?.name === undefined ? key : `${object.name}: ${key}`;
}

/** Parses the values of an option. A value that cannot be parsed is left out, and its error is added to `errors`. */
function parseValues(option: Option, texts: readonly unknown[], errors: string[], inCode = false): readonly unknown[] {
  return texts.flatMap((text) => {
    try {
      return [typeof text === "string" ? parseValue(option, text) : checkValue(option, text, inCode)];
    } catch (error) {
      errors.push(messageOf(error));
      return [];
    }
  });
}

function defaultTexts(option: Option): readonly unknown[] {
  const value = option.default;
  if (value === undefined) return [];
  return typeof value === "string" || value === false ? [value] : value;
}

const EXPECTED: Readonly<Partial<Record<Option["type"], string>>> = {
  switch: "true or false",
  count: "a whole number",
  port: "a whole number",
  size: "a number of bytes or a string with a unit",
  duration: "a string with a unit (30s)",
};

/**
 * Validates a value from JSON or code that is not a string, with the same rules. A number as duration means milliseconds
 * in code, as in Web APIs. In the file it is refused, as in flags and variables, because a reader could not tell seconds
 * from milliseconds.
 */
function checkValue(option: Option, value: unknown, inCode: boolean): unknown {
  if (option.type === "switch" && typeof value === "boolean") return value;
  const numeric = option.type === "count" || option.type === "port" || option.type === "size";
  if (typeof value === "number" && numeric) return parseValue(option, String(value));
  if (typeof value === "number" && option.type === "duration") {
    return parseValue(option, inCode ? `${value}ms` : String(value));
  }
  if (typeof value === "number" && (option.type === "tls" || option.numeric)) return parseValue(option, String(value));
  // An invalid value of a secret is not quoted, because it may contain the secret.
  const shown = option.variableOnly ? "" : `, not ${JSON.stringify(value)}`;
  throw new RangeError(`must be ${EXPECTED[option.type] ?? "a string"}${shown}`);
}

function findUnknownNames(table: OptionTable, { variables, object }: Sources): string[] {
  const keys = Object.keys(table);
  const problems: string[] = [];
  for (const key of Object.keys(object?.values ?? {})) {
    if (key !== "$schema") report(key, keys, key, labelOf(key, object).slice(0, -key.length), "option");
  }
  for (const name of Object.keys(variables ?? {})) {
    const key = keys.find((each) => variableOf(each) === name);
    if (!RESERVED_VARIABLES.includes(name)) report(key, keys.map(variableOf), name, "", "variable");
  }
  return problems;

  function report(key: string | undefined, known: readonly string[], name: string, label: string, kind: string): void {
    const row = key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
    if (row?.flagOnly) problems.push(`${label}${name} is allowed only on the command line: ${flagOf(key!)}`);
    if (row !== undefined) return;
    const guess = findNearestName(name, known);
    problems.push(`${label}unknown ${kind} ${name}${guess === undefined ? "" : `: did you mean ${guess}?`}`);
  }
}

/**
 * Variables that begin with WSS_ and are not options: the path of the configuration file, the switch of the tests, and
 * the data from a process that hands over and from a supervisor.
 */
const RESERVED_VARIABLES: readonly string[] = ["WSS_CONFIG", "WSS_TEST_PEERS", "WSS_HANDOVER", "WSS_WORKER"];
