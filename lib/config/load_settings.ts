/**
 * Merges flags, variables, the configuration file and defaults through the option table, and reports every mistake at
 * once. Only this folder reads `Deno.env`.
 * @module
 */
import { dirname, isAbsolute, join } from "node:path";
import { messageOf, readFailure, UsageError } from "../errors.ts";
import { decodeText } from "../text_file.ts";
import { flagOf, type Option, type OptionTable, parseValue, type Values, variableOf } from "./option_table.ts";
import type { RawValues } from "./command_line.ts";
import { nearest } from "./nearest_name.ts";

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
    /** The text before a key in messages: the path of the file. */
    readonly name?: string;
    /** The folder to which relative paths are relative. Default: the working directory. */
    readonly folder?: string;
  };
}

/** Settings, and the name under which each one was given. */
export interface LoadedSettings<T extends OptionTable, C> {
  readonly settings: Values<T>;
  /** The result of the rules. */
  readonly checked: C;
  /** By key: `--max-payload`, `WSS_MAX_PAYLOAD`, `wss.json: maxPayload`. */
  readonly given: ReadonlyMap<string, string>;
  /** Notes for the operator that are not mistakes: one sentence each. */
  readonly notes: readonly string[];
}

/**
 * Checks settings against each other and returns a result. If it throws a UsageError, the problems are reported
 * together with the others.
 */
export type Rules<T extends OptionTable, C> = (
  settings: Values<T>,
  given: ReadonlyMap<string, string>,
  /** Keys whose values could not be read. */
  wrong: ReadonlySet<string>,
) => C;

/**
 * Merges the sources through the table.
 * @param earlier earlier mistakes, reported with the others
 * @param rules always run, so that all mistakes are reported at once; they see the default of a value that is wrong
 * @throws {UsageError} with every mistake in all sources
 */
export function load<T extends OptionTable, C = undefined>(
  table: T,
  { variables: environment, ...others }: Sources,
  earlier: readonly string[] = [],
  rules?: Rules<T, C>,
): LoadedSettings<T, C> {
  const { variables, foreign } = ownVariables(environment ?? {});
  const sources: Sources = { ...others, variables };
  const problems = [...earlier];
  const settings: Record<string, unknown> = {};
  const given = new Map<string, string>();
  const wrong = new Set<string>();

  for (const [key, option] of Object.entries(table)) {
    const found = fromFlags(key, sources) ?? fromVariables(key, option, sources) ?? fromObject(key, option, sources);
    if (found) given.set(key, found.label);
    const mistakes: string[] = [];
    let values = read(option, found?.texts ?? defaultTexts(option), mistakes, others.object?.name === undefined);
    if (mistakes.length > 0) {
      problems.push(...mistakes.map((mistake) => `${found?.label}: ${mistake}`));
      wrong.add(key);
      values = read(option, defaultTexts(option), []);
    }
    if (values.length > 0 || option.repeat) settings[key] = option.repeat ? values : values[0];
  }
  problems.push(...unknownNames(table, sources));
  let checked: C | undefined;
  try {
    checked = rules?.(settings as Values<T>, given, wrong);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems);
  }
  if (problems.length > 0) throw new UsageError(problems);
  const notes = foreign.length === 0 ? [] : [
    `Kubernetes service links are ignored: ${
      foreign.join(", ")
    }. They come from a Service whose name begins with wss; ` +
    `enableServiceLinks: false in the pod's spec omits them.`,
  ];
  // Without a rule C is undefined; with one it has returned.
  return { settings: settings as Values<T>, given, notes, checked: checked as C };
}

/**
 * Merges flags, variables and the configuration file.
 * @param earlier earlier mistakes, reported with those in the file's syntax
 * @throws {UsageError} with every mistake
 */
export function loadWithFile<T extends OptionTable, C = undefined>(
  table: T,
  sources: { readonly flags: RawValues; readonly variables: Readonly<Record<string, string>> },
  earlier: readonly string[],
  rules?: Rules<T, C>,
): LoadedSettings<T, C> {
  let object: Sources["object"];
  try {
    object = readConfigFile(sources.flags.get("config")?.at(-1) ?? (sources.variables.WSS_CONFIG || undefined));
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    // The rules would not see the settings of the file.
    return load(table, sources, [...earlier, ...error.problems]);
  }
  return load(table, { ...sources, ...(object && { object }) }, earlier, rules);
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

/** The environment variables, or none if reading them is not permitted. */
export function readVariables(): Record<string, string> {
  try {
    return Object.fromEntries(Object.entries(Deno.env.toObject()).filter(([name]) => name.startsWith("WSS_")));
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return {};
    throw error;
  }
}

/** The variable by which a predecessor hands its port over to this process. */
export function readHandover(): string | undefined {
  return readNote("WSS_HANDOVER");
}

/**
 * Whether this process is the main process of a systemd service. When it ends, systemd also ends the processes that it
 * started (KillMode, systemd.kill(5)).
 * @param parent the process that started this one
 */
export function isSystemdService(parent: number): boolean {
  if (readNote("SYSTEMD_EXEC_PID") === String(Deno.pid)) return true;
  // systemd before 248 does not pass the process id.
  return parent === 1 && readNote("INVOCATION_ID") !== undefined;
}

/** The variable by which a supervisor configures this worker process. */
export function readWorker(): string | undefined {
  return readNote("WSS_WORKER");
}

function readNote(variable: string): string | undefined {
  const granted = Deno.permissions.querySync({ name: "env", variable }).state === "granted";
  return granted ? Deno.env.get(variable) : undefined;
}

/**
 * The variables that the operator set. An empty one counts as unset, because docker compose sets `WSS_PORT=` for a
 * missing value. Service links of Kubernetes, which look like options, are ignored: for a Service `wss`,
 * `WSS_SERVICE_HOST`, `WSS_PORT=tcp://10.96.12.7:8282`, `WSS_PORT_8282_TCP_ADDR`; for `wss-chat`,
 * `WSS_CHAT_SERVICE_HOST` and so on.
 * @see https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
 */
function ownVariables(
  environment: Readonly<Record<string, string>>,
): { variables: Readonly<Record<string, string>>; foreign: readonly string[] } {
  const variables: Record<string, string> = {};
  const foreign: string[] = [];
  for (const [name, text] of Object.entries(environment)) {
    if (text === "") continue;
    if (SERVICE_LINK.test(name) || (/_PORT$/.test(name) && /^(?:tcp|udp|sctp):\/\//.test(text))) foreign.push(name);
    else variables[name] = text;
  }
  return { variables, foreign };
}

const SERVICE_LINK = /_SERVICE_(?:HOST|PORT(?:_\w+)?)$|_PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?$/;

interface Found {
  readonly texts: readonly unknown[];
  readonly label: string;
}

function fromFlags(key: string, { flags }: Sources): Found | undefined {
  const texts = flags?.get(key);
  return texts && { texts, label: flagOf(key) };
}

function fromVariables(key: string, option: Option, { variables }: Sources): Found | undefined {
  const name = variableOf(key);
  const text = option.flagOnly ? undefined : variables?.[name];
  if (text === undefined) return undefined;
  return { texts: option.repeat ? text.split(",").map((part) => part.trim()) : [text], label: name };
}

function fromObject(key: string, option: Option, { object }: Sources): Found | undefined {
  const value = option.flagOnly ? undefined : (object?.values as Readonly<Record<string, unknown>> | undefined)?.[key];
  if (value === undefined) return undefined;
  const label = labelOf(key, object);
  const list = option.repeat && Array.isArray(value) ? value : [value];
  const folder = object?.folder;
  if (folder === undefined || folder === ".") return { texts: list, label };
  return { texts: list.map((text) => typeof text === "string" ? fromFolder(option, folder, text) : text), label };
}

/** A path in a file is relative to the folder of that file. */
function fromFolder({ type }: Option, folder: string, text: string): string {
  const isPath = type === "path" ? text !== "" : type === "module" && /[/\\.]/.test(text) && !/^[a-z]{2,}:/.test(text);
  return isPath && !isAbsolute(text) ? join(folder, text) : text;
}

function labelOf(key: string, object: Sources["object"]): string {
  return object?.name === undefined ? key : `${object.name}: ${key}`;
}

/** The values of an option. Values that cannot be parsed are added to `mistakes` instead. */
function read(option: Option, texts: readonly unknown[], mistakes: string[], inCode = false): readonly unknown[] {
  return texts.flatMap((text) => {
    try {
      return [typeof text === "string" ? parseValue(option, text) : checkValue(option, text, inCode)];
    } catch (error) {
      mistakes.push(messageOf(error));
      return [];
    }
  });
}

function defaultTexts(option: Option): readonly unknown[] {
  const value = option.default;
  if (value === undefined) return [];
  return typeof value === "string" || value === false ? [value] : value;
}

const NEEDED: Readonly<Partial<Record<Option["type"], string>>> = {
  switch: "true or false",
  count: "a whole number",
  port: "a whole number",
  size: "a number of bytes or a text with a unit",
  duration: "a text with a unit (30s)",
};

/**
 * Checks a value that is not text, from JSON or code, against the same bounds. A duration without a unit is
 * milliseconds in code, as in Web APIs. In the file it is refused, as in flags and variables, because a reader could
 * not tell seconds from milliseconds.
 */
function checkValue(option: Option, value: unknown, inCode: boolean): unknown {
  if (option.type === "switch" && typeof value === "boolean") return value;
  const numeric = option.type === "count" || option.type === "port" || option.type === "size";
  if (typeof value === "number" && numeric) return parseValue(option, String(value));
  if (typeof value === "number" && option.type === "duration") {
    return parseValue(option, inCode ? `${value}ms` : String(value));
  }
  if (typeof value === "number" && option.type === "tls") return parseValue(option, String(value));
  // The wrong value of a secret is not quoted: it may contain the secret.
  const shown = option.variableOnly ? "" : `, not ${JSON.stringify(value)}`;
  throw new RangeError(`${NEEDED[option.type] ?? "a text"} is needed${shown}`);
}

function unknownNames(table: OptionTable, { variables, object }: Sources): string[] {
  const keys = Object.keys(table);
  const problems: string[] = [];
  for (const key of Object.keys(object?.values ?? {})) {
    if (key !== "$schema") check(key, keys, key, labelOf(key, object).slice(0, -key.length), "option");
  }
  for (const name of Object.keys(variables ?? {})) {
    const key = keys.find((each) => variableOf(each) === name);
    if (!RESERVED_VARIABLES.includes(name)) check(key, keys.map(variableOf), name, "", "variable");
  }
  return problems;

  function check(key: string | undefined, known: readonly string[], name: string, label: string, kind: string): void {
    const row = key !== undefined && Object.hasOwn(table, key) ? table[key] : undefined;
    if (row?.flagOnly) problems.push(`${label}${name} is only for the command line: ${flagOf(key!)}`);
    if (row !== undefined) return;
    const guess = nearest(name, known);
    problems.push(`${label}unknown ${kind} ${name}${guess === undefined ? "" : `: did you mean ${guess}?`}`);
  }
}

/**
 * Variables that begin with WSS_ and are no option: the test switch, and the notes from a process that hands over and
 * from a supervisor.
 */
const RESERVED_VARIABLES: readonly string[] = ["WSS_CONFIG", "WSS_TEST_PEERS", "WSS_HANDOVER", "WSS_WORKER"];
