/**
 * Limits log lines that clients can cause: the first ones of each client are written, the rest are counted and
 * summarised.
 * @module
 */
import { addressKey, canonicalAddress } from "./ip.ts";
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel } from "./log.ts";

/** Options of {@link throttled}. */
export interface ThrottleOptions {
  /** Milliseconds between two summaries. Default 10,000. */
  readonly interval?: number;
  /** Lines written for one event of one client before further ones are only counted. Default 5. */
  readonly burst?: number;
  /** The maximum number of lines in one interval, summaries included. Default 200. */
  readonly lines?: number;
  /** Pairs of event and client that have a count of their own; all further pairs share one count. Default 1,000. */
  readonly keys?: number;
  /** The field that identifies the client. Default `address`; an IPv6 address is counted by its /64. */
  readonly by?: string;
  /** A clock in milliseconds that never goes back. Default `performance.now`. */
  readonly now?: () => number;
}

/** A logger for events that clients can cause repeatedly. Dispose of it when the service stops. */
export interface ThrottledLogger extends Logger, Disposable {
  /** Ends the current interval, and writes its summaries. */
  flush(): void;
}

/** The state of one event of one client. */
interface Entry {
  readonly level: LogLevel;
  readonly message: string;
  readonly address: string | undefined;
  /** Lines that may still be written. */
  remaining: number;
  /** Events since the last summary that were not written. */
  suppressed: number;
}

/** The maximum length of a field in characters. A field may contain a client's input. */
const FIELD_LENGTH = 1_000;
/** The maximum length of the field `error`, which contains the stack of an app's exception. */
const STACK_LENGTH = 4_096;
/** The maximum number of summaries in one interval: for the clients with the most events. One more is for all others. */
const SUMMARIES = 20;

/**
 * Wraps a logger. An event is identified by level, message and client (the field `by`). Its first `burst` lines are
 * written, then one line per interval, such as "refused: and 312 more in the last 10 s", until an interval passes
 * without the event. With any number of clients, an interval writes at most `lines` lines and memory holds at most
 * `keys` entries of bounded size. Use constant messages, and put variable values into fields. Fields are truncated to
 * 1,000 characters, the field `error` to 4,096.
 */
export function throttled(log: Logger, options: ThrottleOptions = {}): ThrottledLogger {
  const { interval = 10_000, burst = 5, lines = 200, keys = 1_000, by = "address" } = options;
  const now = options.now ?? (() => performance.now());
  const entries = new Map<string, Entry>();
  const others: Record<LogLevel, number> = { error: 0, warn: 0, info: 0, debug: 0 };
  const budget = Math.max(1, lines - SUMMARIES - LOG_LEVELS.length);
  let written = 0;
  let since = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let disposed = false;

  function record(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!log.enabled(level)) return;
    start();
    const entry = entryOf(level, message, fields?.[by]);
    if (entry === undefined) {
      others[level]++;
      return;
    }
    if (entry.remaining === 0 || written >= budget) {
      entry.suppressed++;
      return;
    }
    entry.remaining--;
    written++;
    log[level](message, fields && shortened(fields));
  }

  function entryOf(level: LogLevel, message: string, who: LogFields[string]): Entry | undefined {
    const address = who === undefined ? undefined : clientOf(String(who));
    const text = message.slice(0, FIELD_LENGTH);
    const key = `${level} ${address} ${text}`;
    const known = entries.get(key);
    if (known !== undefined || entries.size >= keys) return known;
    const entry: Entry = { level, message: text, address, remaining: burst, suppressed: 0 };
    entries.set(key, entry);
    return entry;
  }

  function start(): void {
    if (timer !== undefined || disposed) return;
    since = now();
    const armed = setTimeout(() => {
      timer = undefined;
      flush();
      if (entries.size > 0) start();
    }, interval);
    Deno.unrefTimer(armed);
    timer = armed;
  }

  function flush(): void {
    const seconds = Math.max(1, Math.round((now() - since) / 1000));
    const counted = [...entries.values()].filter((entry) => entry.suppressed > 0).sort((a, b) =>
      b.suppressed - a.suppressed
    );
    for (const entry of counted.slice(0, SUMMARIES)) {
      const fields = { ...(entry.address === undefined ? {} : { [by]: entry.address }), more: entry.suppressed };
      log[entry.level](`${entry.message}: and ${entry.suppressed} more in the last ${seconds} s`, fields);
    }
    for (const entry of counted.slice(SUMMARIES)) others[entry.level] += entry.suppressed;
    for (const level of LOG_LEVELS) {
      if (others[level] > 0) {
        log[level](`and ${others[level]} more events of further clients in the last ${seconds} s`, {
          more: others[level],
        });
      }
      others[level] = 0;
    }
    for (const [key, entry] of entries) {
      // An entry with nothing left to report is reset. Any other stays, so a steady flood is one line per interval.
      if (entry.suppressed === 0) entries.delete(key);
      entry.suppressed = 0;
    }
    written = 0;
    since = now();
  }

  return {
    enabled: (level) => log.enabled(level),
    error: (message, fields) => record("error", message, fields),
    warn: (message, fields) => record("warn", message, fields),
    info: (message, fields) => record("info", message, fields),
    debug: (message, fields) => record("debug", message, fields),
    flush,
    [Symbol.dispose]() {
      disposed = true;
      flush();
      if (timer !== undefined) clearTimeout(timer);
      timer = undefined;
    },
  };
}

/** Returns a function that logs each message once. It remembers 100 messages: do not put client input into them. */
export function warningOnce(log: Logger): (message: string) => void {
  const known = new Set<string>();
  return (message) => {
    if (known.has(message) || known.size >= 100) return;
    known.add(message);
    log.warn(message);
  };
}

function clientOf(who: string): string {
  const address = canonicalAddress(who);
  return address === undefined ? who.slice(0, FIELD_LENGTH) : addressKey(address);
}

function shortened(fields: LogFields): LogFields {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => {
      const length = name === "error" ? STACK_LENGTH : FIELD_LENGTH;
      return [name, typeof value === "string" && value.length > length ? value.slice(0, length) + "…" : value];
    }),
  );
}
