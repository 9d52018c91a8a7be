/**
 * The logger: text for a terminal or JSON for programs, always exactly one line per event.
 * @module
 */
import { flushStderr, stderrWriter } from "./log_writer.ts";

/** How severe an event is. */
export type LogLevel = "error" | "warn" | "info" | "debug";

/** From the most severe to the least. */
export const LOG_LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

/** Fields of an event. Undefined values are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Receives events. `enabled` lets a caller skip fields that would not be logged. */
export interface Logger {
  /** Whether events of the level are logged. */
  enabled(level: LogLevel): boolean;
  /** A failure that the operator has to fix. */
  error(message: string, fields?: LogFields): void;
  /** Something is wrong, but the service continues. */
  warn(message: string, fields?: LogFields): void;
  /** A normal event of interest to the operator. */
  info(message: string, fields?: LogFields): void;
  /** Details for debugging. */
  debug(message: string, fields?: LogFields): void;
}

/** Options of {@link createLogger}. */
export interface LogOptions {
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Default `text`. */
  readonly format?: "text" | "json";
  /**
   * Receives whole lines without their newline. Default: standard error, through a buffer of 1 MiB. A slow reader or
   * a full disk does not block the service: lines that do not fit are dropped, and a line reports how many.
   */
  readonly write?: (line: string) => void;
  /** Fields of every line, for example the worker. */
  readonly fields?: LogFields;
  /** Default: the current time. */
  readonly now?: () => Date;
}

/** Escapes control characters, line separators and bidirectional control characters. */
export function escapeControls(text: string): string {
  // deno-lint-ignore no-control-regex -- these must not reach the log
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/**
 * Creates a logger that writes one line per event, by default to standard error.
 *
 * @example
 * ```ts
 * import { createLogger } from "@wss/wss";
 *
 * const lines: string[] = [];
 * const log = createLogger({ format: "json", write: (line) => lines.push(line) });
 * log.info("listening", { port: 8282 });
 * ```
 */
export function createLogger(options: LogOptions = {}): Logger {
  const { level = "info", format = "text", fields: common, now = () => new Date() } = options;
  const write = options.write ?? ((line: string) => stderrWriter().write(line, dropped));
  const maxIndex = LOG_LEVELS.indexOf(level);

  function emit(at: LogLevel, message: string, fields: LogFields | undefined): void {
    if (LOG_LEVELS.indexOf(at) <= maxIndex) write(lineOf(at, message, fields));
  }

  function dropped(lines: number): string {
    return lineOf("warn", "log lines were dropped: writing to standard error was too slow or failed", { lines });
  }

  function lineOf(at: LogLevel, message: string, fields: LogFields | undefined): string {
    const time = now().toISOString();
    if (format === "json") return escapeControls(JSON.stringify({ time, level: at, message, ...fields, ...common }));
    let line = `${time} ${at.padEnd(5)} ${escapeControls(message)}`;
    for (const [name, value] of Object.entries({ ...fields, ...common })) {
      if (value === undefined) continue;
      const text = String(value);
      line += ` ${name}=${/^[^\s"=]+$/.test(text) ? escapeControls(text) : escapeControls(JSON.stringify(text))}`;
    }
    return line;
  }

  return {
    enabled: (at) => LOG_LEVELS.indexOf(at) <= maxIndex,
    error: (message, fields) => emit("error", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    info: (message, fields) => emit("info", message, fields),
    debug: (message, fields) => emit("debug", message, fields),
  };
}

/**
 * Waits until all lines logged so far are written to standard error. Call it before `Deno.exit`. Waits at most 5 s for
 * a slow reader, and 1 s for a reader that has stopped.
 *
 * @example
 * ```ts
 * import { createLogger, flushLog } from "@wss/wss";
 *
 * createLogger().info("the last line");
 * await flushLog();
 * ```
 */
export async function flushLog(): Promise<void> {
  await flushStderr();
}

/** A logger that discards everything. */
export const silent: Logger = {
  enabled: () => false,
  error() {},
  warn() {},
  info() {},
  debug() {},
};
