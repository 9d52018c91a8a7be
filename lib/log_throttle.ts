/**
 * A log that a flood cannot fill: the first refusals of a client are written, the rest are counted and summarised.
 * @module
 */
import { addressKey, canonicalAddress } from "./ip.ts";
import { LOG_LEVELS, type LogFields, type Logger, type LogLevel } from "./log.ts";

/** How a throttled log writes. */
export interface ThrottleOptions {
  /** Milliseconds between two summaries. Default 10,000. */
  readonly interval?: number;
  /** Lines that one event of one client may write before it is only counted. Default 5. */
  readonly burst?: number;
  /** Lines that all of them together may write in one interval, summaries included. Default 200. */
  readonly lines?: number;
  /** Events of clients that are told apart; further ones share one count. Default 1,000. */
  readonly keys?: number;
  /** The field that says whom an event is about. Default `address`; an IPv6 address counts by its /64. */
  readonly by?: string;
  /** A clock in milliseconds that never goes back. Default `performance.now`. */
  readonly now?: () => number;
}

/** A logger for what strangers can cause again and again. Dispose of it when the service stops. */
export interface ThrottledLogger extends Logger, Disposable {
  /** Ends the present interval: writes what was counted and not yet said. */
  flush(): void;
}

/** What is known of one event of one client. */
interface Entry {
  readonly level: LogLevel;
  readonly message: string;
  readonly address: string | undefined;
  /** Lines it may still write. */
  left: number;
  /** Events since the last summary that were not written. */
  more: number;
}

/** A field can hold what a client sent; a line of the log stays a line. */
const FIELD_LENGTH = 1_000;
/** The field `error` holds the stack of what an app's hook threw. */
const STACK_LENGTH = 4_096;
/** Summaries in one interval: the busiest clients by name, the others together. */
const SUMMARIES = 20;

/**
 * Wraps a logger: an event is its level, its message and its client (the field `by`). Each writes its first `burst`
 * lines, then one line an interval, as in "refused: and 312 more in the last 10 s", until an interval passes without
 * more. However many clients there are, an interval writes at most `lines` lines, and memory holds at most `keys` entries
 * of bounded size. Give it constant messages and put what varies into fields. Long fields are cut to 1,000 characters,
 * the field `error` to 4,096.
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

  function note(level: LogLevel, message: string, fields: LogFields | undefined): void {
    if (!log.enabled(level)) return;
    start();
    const entry = entryOf(level, message, fields?.[by]);
    if (entry === undefined) {
      others[level]++;
      return;
    }
    if (entry.left === 0 || written >= budget) {
      entry.more++;
      return;
    }
    entry.left--;
    written++;
    log[level](message, fields && shortened(fields));
  }

  function entryOf(level: LogLevel, message: string, who: LogFields[string]): Entry | undefined {
    const address = who === undefined ? undefined : clientOf(String(who));
    const text = message.slice(0, FIELD_LENGTH);
    const key = `${level} ${address} ${text}`;
    const known = entries.get(key);
    if (known !== undefined || entries.size >= keys) return known;
    const entry: Entry = { level, message: text, address, left: burst, more: 0 };
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
    const counted = [...entries.values()].filter((entry) => entry.more > 0).sort((a, b) => b.more - a.more);
    for (const entry of counted.slice(0, SUMMARIES)) {
      const fields = { ...(entry.address === undefined ? {} : { [by]: entry.address }), more: entry.more };
      log[entry.level](`${entry.message}: and ${entry.more} more in the last ${seconds} s`, fields);
    }
    for (const entry of counted.slice(SUMMARIES)) others[entry.level] += entry.more;
    for (const level of LOG_LEVELS) {
      if (others[level] > 0) {
        log[level](`and ${others[level]} more events of further clients in the last ${seconds} s`, {
          more: others[level],
        });
      }
      others[level] = 0;
    }
    for (const [key, entry] of entries) {
      // Where all was said it starts anew; where not it stays counted, so that a steady flood is one line an interval.
      if (entry.more === 0) entries.delete(key);
      entry.more = 0;
    }
    written = 0;
    since = now();
  }

  return {
    enabled: (level) => log.enabled(level),
    error: (message, fields) => note("error", message, fields),
    warn: (message, fields) => note("warn", message, fields),
    info: (message, fields) => note("info", message, fields),
    debug: (message, fields) => note("debug", message, fields),
    flush,
    [Symbol.dispose]() {
      disposed = true;
      flush();
      if (timer !== undefined) clearTimeout(timer);
      timer = undefined;
    },
  };
}

/** A function that warns of each message once. What a stranger can vary does not belong into them: 100 are remembered. */
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
