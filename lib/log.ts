/**
 * Log lines: text for a terminal, JSON for machines; one line an event, whatever a client sent.
 * @module
 */
import { flushStderr, stderrWriter } from "./log_writer.ts";

/** How severe an event is. */
export type LogLevel = "error" | "warn" | "info" | "debug";

/** From the most severe to the least. */
export const LOG_LEVELS: readonly LogLevel[] = ["error", "warn", "info", "debug"];

/** Facts that go with an event. Undefined ones are left out. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Where events go. `enabled` lets a caller skip making fields that nobody reads. */
export interface Logger {
  /** Whether events of the level are logged. */
  enabled(level: LogLevel): boolean;
  /** Something failed that the operator has to mend. */
  error(message: string, fields?: LogFields): void;
  /** Something is wrong, and the service goes on. */
  warn(message: string, fields?: LogFields): void;
  /** What an operator wants to know. */
  info(message: string, fields?: LogFields): void;
  /** What helps to find a fault. */
  debug(message: string, fields?: LogFields): void;
}

/** How a logger writes. */
export interface LogOptions {
  /** Default `info`. */
  readonly level?: LogLevel;
  /** Default `text`. */
  readonly format?: "text" | "json";
  /**
   * Receives whole lines without their newline. Default: standard error, through a buffer of 1 MiB: while nobody reads it
   * the service goes on, and what does not fit is dropped and counted in one line.
   */
  readonly write?: (line: string) => void;
  /** Fields that every line has, the worker for instance. */
  readonly fields?: LogFields;
  /** Default: the current time. */
  readonly now?: () => Date;
}

/** Control characters, line separators and the characters that reverse a terminal's text, as escapes. */
export function escapeControls(text: string): string {
  // deno-lint-ignore no-control-regex -- they are what must not reach the log
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
  });
}

/**
 * Makes a logger that writes one line an event, to standard error unless told otherwise.
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
  const most = LOG_LEVELS.indexOf(level);

  function emit(at: LogLevel, message: string, fields: LogFields | undefined): void {
    if (LOG_LEVELS.indexOf(at) <= most) write(lineOf(at, message, fields));
  }

  function dropped(lines: number): string {
    return lineOf("warn", "log lines were dropped: standard error is not read fast enough", { lines });
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
    enabled: (at) => LOG_LEVELS.indexOf(at) <= most,
    error: (message, fields) => emit("error", message, fields),
    warn: (message, fields) => emit("warn", message, fields),
    info: (message, fields) => emit("info", message, fields),
    debug: (message, fields) => emit("debug", message, fields),
  };
}

/**
 * Waits until what was logged to standard error is written; a program calls it before `Deno.exit`. Up to 5 s for a slow
 * reader, 1 s for one that has stopped reading.
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

/** A logger that says nothing: the default of the library. */
export const silent: Logger = {
  enabled: () => false,
  error() {},
  warn() {},
  info() {},
  debug() {},
};
