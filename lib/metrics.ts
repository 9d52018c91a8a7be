/**
 * Metrics in the text format of Prometheus, without a library: a counter on the path of messages is a plain number, and
 * everything else is read when somebody scrapes.
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @module
 */

/** What a metric is. */
export interface MetricDefinition {
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  /**
   * How the values of several workers become one: the default is their sum. `each`: they stay apart, with the label
   * `worker`.
   */
  readonly workers?: "max" | "min" | "each";
}

/** Every metric, in the order in which they are shown. The dashboard and the documentation name no other. */
export const METRICS = {
  wss_build_info: { type: "gauge", help: "1, with the versions as labels.", workers: "max" },
  wss_connections: { type: "gauge", help: "Open WebSocket connections." },
  wss_connections_opened_total: { type: "counter", help: "WebSocket connections that were opened." },
  wss_connections_closed_total: {
    type: "counter",
    help: "WebSocket connections that ended, by close code; unregistered codes are other.",
  },
  wss_handshakes_refused_total: { type: "counter", help: "Handshakes that were refused, by reason." },
  wss_messages_total: { type: "counter", help: "Messages of clients (received) and to clients (sent)." },
  wss_message_bytes_total: {
    type: "counter",
    help: "Bytes of the payloads of messages, by direction; of text, its UTF-16 units.",
  },
  wss_send_buffer_bytes: { type: "gauge", help: "Bytes that wait to be sent to clients." },
  wss_subscriptions: { type: "gauge", help: "Subscriptions of clients to topics." },
  wss_topics: { type: "gauge", help: "Topics with subscribers; of several workers each counts its own." },
  wss_users: { type: "gauge", help: "Users with connections; of several workers each counts its own." },
  wss_watchdog_ended_total: { type: "counter", help: "Connections that the watchdog ended, by reason." },
  wss_hook_errors_total: { type: "counter", help: "Errors that hooks of the app threw, by hook." },
  wss_hook_duration_seconds: {
    type: "histogram",
    help: "How long hooks of the app took, with what they awaited; of message hooks every 64th is measured.",
  },
  wss_event_loop_lag_seconds: {
    type: "gauge",
    help: "The longest that a timer of the event loop came late in the last 10 to 15 seconds.",
    workers: "each",
  },
  wss_certificate_expiry_timestamp_seconds: {
    type: "gauge",
    help: "When the certificate in use ends, seconds of the epoch.",
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
  wss_nodes: { type: "gauge", help: "Nodes of the service that this one knows, itself included.", workers: "max" },
  process_resident_memory_bytes: { type: "gauge", help: "Resident memory.", workers: "each" },
  process_open_fds: { type: "gauge", help: "Open file descriptors.", workers: "each" },
  process_cpu_seconds_total: { type: "counter", help: "User and system CPU time.", workers: "each" },
  process_start_time_seconds: {
    type: "gauge",
    help: "When the process started, seconds of the epoch.",
    workers: "each",
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

export type MetricName = keyof typeof METRICS;

/** One value. */
export interface Sample {
  /** Of a histogram: `_bucket`, `_sum` or `_count`. */
  readonly suffix?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** The values of a process: plain JSON, so that a worker can hand them to its supervisor. */
export type MetricValues = { readonly [Name in MetricName]?: readonly Sample[] };

const NAMES = Object.keys(METRICS) as MetricName[];

/** Values as text. */
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

/** One sample for each entry of an object. */
export function labelled(label: string, counts: Readonly<Record<string, number>>): Sample[] {
  return Object.entries(counts).map(([of, value]) => ({ labels: { [label]: of }, value }));
}

/** The values of several processes as those of one service. @param parts by the label `worker` */
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

/** The values that are summed, without those that each worker has by itself. */
export function sharedMetrics(values: MetricValues): MetricValues {
  return pick(values, ({ workers }) => workers !== "each");
}

/**
 * What remains of a process that has ended: its counts. Without them the sum of all would fall, which Prometheus takes
 * for a restart, and counts the whole rest again.
 */
export function countsOf(values: MetricValues): MetricValues {
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

/** Seconds: from what answers at once to what keeps everybody waiting. */
const BOUNDS = [0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5] as const;

/** Durations in buckets. */
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

  samples(labels: Readonly<Record<string, string>>): Sample[] {
    let total = 0;
    const buckets = this.#counts.map((count, at) => {
      const le = at < BOUNDS.length ? String(BOUNDS[at]) : "+Inf";
      return { suffix: "_bucket", labels: { ...labels, le }, value: total += count };
    });
    return [...buckets, { suffix: "_sum", labels, value: this.#sum }, { suffix: "_count", labels, value: total }];
  }
}
