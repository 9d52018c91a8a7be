/**
 * The row type of every option table, the spellings of an option, and the parser of its values.
 * @module
 */
import { addressSet } from "../ip.ts";
import { formatDuration, formatSize, parseDuration, parseSize } from "../duration_and_size.ts";

/**
 * How the text of a value is parsed. `tls` is a protocol version, `cidr` is an address or a range, `address` is
 * `HOST:PORT` or `unix:PATH`, and `module` is the name, path or URL of a module.
 */
export type OptionType =
  | "text"
  | "path"
  | "module"
  | "choice"
  | "switch"
  | "count"
  | "port"
  | "size"
  | "duration"
  | "tls"
  | "cidr"
  | "address";

/** The groups of options, in the order of the help. */
export const TOPICS = [
  "Address and mode",
  "Certificate",
  "Certificate by ACME",
  "Behind a proxy",
  "App",
  "Limits",
  "Tokens",
  "Broker",
  "Admin listener",
  "Log",
  "Configuration and processes",
  "Connection",
] as const;

/** One row of an option table: the only place where an option is described. */
export interface Option {
  readonly type: OptionType;
  /** The heading in the help. Options without a topic belong to the command itself and come first. */
  readonly topic?: (typeof TOPICS)[number] | undefined;
  /** The default as text. If there is none, `unset` describes what happens. */
  readonly default?: string | readonly string[] | false;
  /** For help and README: what happens if the option is not given and has no fixed default. */
  readonly unset?: string;
  /** The placeholder for the value in help. */
  readonly value?: string;
  /** The values of a `choice`. */
  readonly values?: readonly string[];
  /** May be given more than once; comma-separated in a variable, an array in the file. */
  readonly repeat?: true;
  /** The smallest allowed number. Default 0. */
  readonly min?: number;
  /** Whether 0 is also allowed, below `min`; it turns the option off. */
  readonly zero?: true;
  readonly max?: number;
  /** Whether a `text` may be empty, for example an empty message. */
  readonly emptyAllowed?: true;
  /** Whether the file may give a `text` as a number. */
  readonly numeric?: true;
  /** The short form on the command line: one letter. */
  readonly short?: string;
  /** A secret: only through its variable, never on the command line (which every user of the machine can read). */
  readonly variableOnly?: true;
  /** Allowed only on the command line, not in the file or in a variable. */
  readonly flagOnly?: true;
  /** Short sentences: what the option does, its unit, what 0 means, its hazard. */
  readonly help: string;
}

/** Options by camelCase key. */
export type OptionTable = Readonly<Record<string, Option>>;

type Single<O extends Option> = O["type"] extends "switch" ? boolean
  : O["type"] extends "count" | "port" | "size" | "duration" ? number
  : O["type"] extends "tls" ? "1.2" | "1.3"
  : O["type"] extends "choice" ? (O extends { values: readonly (infer V)[] } ? V : string)
  : string;

/** The values of a table: arrays if repeatable, undefined if there is no default. */
export type Values<T extends OptionTable> = {
  readonly [K in keyof T]: T[K] extends { repeat: true } ? readonly Single<T[K]>[]
    : T[K] extends { default: string | false } ? Single<T[K]>
    : Single<T[K]> | undefined;
};

/** The options in code. Sizes and durations may also be text (`"1MiB"`, `"30s"`). */
export type Input<T extends OptionTable> = {
  readonly [K in keyof T]?:
    | (T[K] extends { repeat: true } ? readonly Single<T[K]>[] : Single<T[K]>)
    | (T[K]["type"] extends "size" | "duration" ? string : never)
    | undefined;
};

/** `maxPayload` as `--max-payload`. */
export function flagOf(key: string): string {
  return "--" + key.replace(/[A-Z]/g, (letter) => "-" + letter.toLowerCase());
}

/** `maxPayload` as `WSS_MAX_PAYLOAD`. */
export function variableOf(key: string): string {
  return "WSS_" + key.replace(/[A-Z]/g, (letter) => "_" + letter).toUpperCase();
}

const OLD_TLS = /^(?:sslv?|tlsv?)?[ -]?(?:[23]|1|1\.[01])(?:\.0)?$/i;

/**
 * Parses one value of an option from text.
 * @throws {RangeError} if the text is not a valid value; the message says what is required and what was given
 */
export function parseValue(option: Option, text: string): string | number | boolean {
  switch (option.type) {
    case "switch":
      if (text === "true" || text === "false") return text === "true";
      throw new RangeError(`must be true or false, not "${text}"`);
    case "choice":
      if (option.values?.includes(text)) return text;
      throw new RangeError(`must be one of ${option.values?.join(", ")}, not "${text}"`);
    case "tls": {
      const version = /^(?:TLSv?[ ]?)?(1\.[23])$/i.exec(text)?.[1];
      if (version !== undefined) return version;
      if (OLD_TLS.test(text)) {
        throw new RangeError(
          `${text} is refused: SSL and TLS before 1.2 are insecure (RFC 7568, RFC 8996); use 1.2 or 1.3`,
        );
      }
      throw new RangeError(`must be 1.2 or 1.3, not "${text}"`);
    }
    case "cidr":
      addressSet([text]);
      return text;
    case "size":
      return checkRange(option, parseSize(text));
    case "duration":
      return checkRange(option, parseDuration(text));
    case "count":
    case "port":
      if (!/^\d+$/.test(text)) throw new RangeError(`must be a whole number, not "${text}"`);
      return checkRange(option, Number(text));
    case "text":
    case "path":
    case "module":
    case "address":
      if (text === "" && !option.emptyAllowed) throw new RangeError("must not be empty");
      return text;
  }
}

/**
 * The longest duration, in ms: 24 days. A timer of 2^31 ms or more fires at once, so a longer idle timeout would end
 * every connection immediately (measured).
 */
const MAX_DURATION = 24 * 24 * 3_600_000;

function checkRange(option: Option, value: number): number {
  const { type, min = 0 } = option;
  const { max = type === "port" ? 65_535 : type === "duration" ? MAX_DURATION : Number.MAX_SAFE_INTEGER } = option;
  if ((value < min && !(option.zero && value === 0)) || value > max) {
    const show = type === "duration" ? formatDuration : type === "size" ? formatSize : String;
    const off = option.zero ? "0 or " : "";
    const range = max === Number.MAX_SAFE_INTEGER
      ? `${off}at least ${show(min)}`
      : `${off}from ${show(min)} to ${show(max)}`;
    throw new RangeError(`must be ${range}, not ${show(value)}`);
  }
  return value;
}
