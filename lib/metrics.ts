/**
 * Metrics in the text format of Prometheus, without a library. Counters on the path of messages are plain numbers. All
 * other values are read when the metrics are scraped.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */

/** The definition of a metric. */
export interface MetricDefinition {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /**
   * How the values of several workers are merged. Default: they are summed. `each`: they are shown separately, with the
   * label `worker`.
   */
  readonly workers?: "max" | "min" | "each";
}

/** All metrics, in the order of the output. The dashboard and the documentation use only these. */
export const METRICS = {
  wss_build_info: { type: "gauge", help: "1, with the versions as labels.", workers: "max" },
  wss_connections: { type: "gauge", help: "Open WebSocket connections." },
  wss_connections_opened_total: { type: "counter", help: "WebSocket connections that were opened." },
  wss_connections_closed_total: {
    type: "counter",
    help: "WebSocket connections that ended, by close code; unregistered codes are other.",
  },
  wss_handshakes_refused_total: {
    type: "counter",
    help: "Handshakes that were refused, and connections that ended before they were open, by reason.",
  },
  wss_messages_total: { type: "counter", help: "Messages from clients (received) and to clients (sent)." },
  wss_message_bytes_total: {
    type: "counter",
    help: "Bytes of message payloads, by direction; text is counted in UTF-16 units.",
  },
  wss_send_buffer_bytes: { type: "gauge", help: "Bytes that wait to be sent to clients." },
  wss_subscriptions: { type: "gauge", help: "Subscriptions of clients to topics." },
  wss_topics: { type: "gauge", help: "Topics with subscribers; each worker counts its own." },
  wss_users: { type: "gauge", help: "Users with connections; each worker counts its own." },
  wss_watchdog_ended_total: { type: "counter", help: "Connections that the watchdog ended, by reason." },
  wss_hook_errors_total: { type: "counter", help: "Errors that hooks of the app threw, by hook." },
  wss_hook_duration_seconds: {
    type: "histogram",
    help: "Duration of the app's hooks until their promises settle; one of 64 message hooks is measured.",
  },
  wss_event_loop_lag_seconds: {
    type: "gauge",
    help: "Longest delay of an event loop timer in the last 10 to 15 seconds.",
    workers: "each",
  },
  wss_certificate_expiry_timestamp_seconds: {
    type: "gauge",
    help: "End of validity of the certificate in use, in seconds since the epoch.",
    workers: "min",
  },
  wss_reloads_total: {
    type: "counter",
    help: "Reloads of certificate and tokens, by result; each worker counts its own.",
  },
  wss_broker_up: { type: "gauge", help: "Whether the broker is connected: 1 or 0.", workers: "min" },
  wss_broker_messages_total: { type: "counter", help: "Messages from other nodes (received) and to them (sent)." },
  wss_broker_dropped_total: {
    type: "counter",
    help: "Messages between nodes that were lost or dropped, by reason.",
  },
  wss_nodes: {
    type: "gauge",
    help: "Nodes of the service that this node has discovered, itself included.",
    workers: "max",
  },
  process_resident_memory_bytes: { type: "gauge", help: "Resident memory.", workers: "each" },
  process_open_fds: { type: "gauge", help: "Open file descriptors.", workers: "each" },
  process_cpu_seconds_total: { type: "counter", help: "User and system CPU time.", workers: "each" },
  process_start_time_seconds: {
    type: "gauge",
    help: "Start time of the process, in seconds since the epoch.",
    workers: "each",
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof METRICS;

/** One value. */
export interface Sample {
  /** For a histogram: `_bucket`, `_sum` or `_count`. */
  readonly suffix?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The values of a process as plain JSON, so that a worker can send them to its supervisor. */
export type MetricValues = { readonly [Name in MetricName]?: readonly Sample[] };

const NAMES = Object.keys(METRICS) as MetricName[];

/** Formats values in the text format. */
export function renderMetrics(values: MetricValues): string {
  let text = "";
  for (const name of NAMES) {
    const samples = values[name];
    if (samples === undefined || samples.length === 0) continue;
    const { type, help } = METRICS[name];
    text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
    for (const { suffix = "", labels = {}, value } of samples) {
      const pairs = Object.entries(labels).map(([label, of]) => `${label}="${escapeLabel(of)}"`);
      text += `${name}${suffix}${pairs.length > 0 ? `{${pairs.join()}}` : ""} ${value}\n`;
    }
  }
  return text;
}

/** Creates one sample for each entry of an object. */
export function labelled(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([of, value]) => ({ labels: { [label]: of }, value }));
}

/**
 * Merges the values of several processes into those of one service.
 * @param parts the values by the label `worker`
 */
export function mergeMetrics(parts: ReadonlyMap<string, MetricValues>): MetricValues {
  const merged: { [Name in MetricName]?: Sample[] } = {};
  for (const name of NAMES) {
    const { workers }: MetricDefinition = METRICS[name];
    const samples = new Map<string, Sample>();
    for (const [worker, values] of parts) {
      for (const sample of values[name] ?? []) {
        const labels = workers === "each" ? { ...sample.labels, worker } : sample.labels;
        const key = JSON.stringify([sample.suffix, labels]);
        const before = samples.get(key)?.value;
        const value = before === undefined ? sample.value : combine(workers, before, sample.value);
        samples.set(key, { ...sample, ...(labels ? { labels } : {}), value });
      }
    }
    if (samples.size > 0) merged[name] = [...samples.values()];
  }
  return merged;
}

/** Selects the values that are merged, without those that are shown for each worker. */
export function sharedMetrics(values: MetricValues): MetricValues {
  return pick(values, ({ workers }) => workers !== "each");
}

/**
 * Selects the counters of a process that has ended. They remain in the sum of all processes. If the sum decreased,
 * Prometheus would treat it as a counter reset and count the remaining total again.
 */
export function countersOf(values: MetricValues): MetricValues {
  return pick(values, ({ type, workers }) => type !== "gauge" && workers === undefined);
}

function pick(values: MetricValues, take: (definition: MetricDefinition) => boolean): MetricValues {
  return Object.fromEntries(Object.entries(values).filter(([name]) => take(METRICS[name as MetricName])));
}

function combine(rule: MetricDefinition["workers"], one: number, other: number): number {
  return rule === "max" ? Math.max(one, other) : rule === "min" ? Math.min(one, other) : one + other;
}

function escapeLabel(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => character === "\n" ? "\\n" : `\\${character}`);
}

/** The upper bounds of the buckets, in seconds. */
const BOUNDS = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5] as const;

/** A histogram of durations. */
export class DurationHistogram {
  readonly #counts = new Array<number>(BOUNDS.length + 1).fill(0);
  #sum = 0;

  /** @param milliseconds of `performance.now()` */
  observe(milliseconds: number): void {
    const seconds = milliseconds / 1000;
    let at = 0;
    while (at < BOUNDS.length && seconds > BOUNDS[at]!) at++;
    this.#counts[at]!++;
    this.#sum += seconds;
  }

  /** Returns the samples of the histogram, each with these labels. */
  samples(labels: Readonly<Record<string, string>>): Sample[] {
    let total = 0;
    const buckets = this.#counts.map((count, at) => {
      const le = at < BOUNDS.length ? String(BOUNDS[at]) : "+Inf";
      return { suffix: "_bucket", labels: { ...labels, le }, value: total += count };
    });
    return [...buckets, { suffix: "_sum", labels, value: this.#sum }, { suffix: "_count", labels, value: total }];
  }
}
