/**
 * A Grafana dashboard of the metrics.
 * @see https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
 * @module
 */
import type { MetricName } from "../metrics.ts";

interface Query {
  readonly legend: string;
  /** The query in PromQL. `$` stands for the metric with the dashboard's filter. */
  readonly expression: string;
  readonly metric: MetricName;
  /** The suffix of a histogram's metric. */
  readonly suffix?: "_bucket";
}

interface Panel {
  readonly title: string;
  /** A unit of Grafana. */
  readonly unit: string;
  readonly queries: readonly Query[];
}

function rate(metric: MetricName, by: string): Query {
  return { metric, legend: `{{${by}}}`, expression: `sum by (${by}) (rate($[$__rate_interval]))` };
}

function sum(metric: MetricName, legend: string): Query {
  return { metric, legend, expression: "sum($)" };
}

const PANELS: readonly Panel[] = [
  { title: "Connections", unit: "short", queries: [sum("wss_connections", "connections"), sum("wss_users", "users")] },
  {
    title: "Opened and closed by code",
    unit: "ops",
    queries: [
      { metric: "wss_connections_opened_total", legend: "opened", expression: "sum(rate($[$__rate_interval]))" },
      rate("wss_connections_closed_total", "code"),
    ],
  },
  { title: "Messages", unit: "ops", queries: [rate("wss_messages_total", "direction")] },
  { title: "Message bytes", unit: "Bps", queries: [rate("wss_message_bytes_total", "direction")] },
  { title: "Send buffers", unit: "bytes", queries: [sum("wss_send_buffer_bytes", "unsent")] },
  {
    title: "Topics and subscriptions",
    unit: "short",
    queries: [sum("wss_topics", "topics"), sum("wss_subscriptions", "subscriptions")],
  },
  { title: "Refused handshakes", unit: "ops", queries: [rate("wss_handshakes_refused_total", "reason")] },
  { title: "Ended by the watchdog", unit: "ops", queries: [rate("wss_watchdog_ended_total", "reason")] },
  {
    title: "Hooks of the app, 99th percentile",
    unit: "s",
    queries: [{
      metric: "wss_hook_duration_seconds",
      suffix: "_bucket",
      legend: "{{hook}}",
      expression: "histogram_quantile(0.99, sum by (le, hook) (rate($[$__rate_interval])))",
    }],
  },
  { title: "Errors in hooks", unit: "ops", queries: [rate("wss_hook_errors_total", "hook")] },
  {
    title: "Event loop lag",
    unit: "s",
    queries: [{ metric: "wss_event_loop_lag_seconds", legend: "{{instance}} {{worker}}", expression: "$" }],
  },
  {
    title: "Certificate expires in",
    unit: "s",
    queries: [{
      metric: "wss_certificate_expiry_timestamp_seconds",
      legend: "{{instance}}",
      expression: "$ - time()",
    }],
  },
  {
    title: "Nodes and broker",
    unit: "short",
    queries: [
      { metric: "wss_nodes", legend: "nodes", expression: "max($)" },
      { metric: "wss_broker_up", legend: "broker {{instance}}", expression: "$" },
    ],
  },
  {
    title: "Messages between nodes",
    unit: "ops",
    queries: [rate("wss_broker_messages_total", "direction"), rate("wss_broker_dropped_total", "reason")],
  },
  { title: "Reloads", unit: "short", queries: [rate("wss_reloads_total", "result")] },
  {
    title: "Memory",
    unit: "bytes",
    queries: [{ metric: "process_resident_memory_bytes", legend: "{{instance}} {{worker}}", expression: "$" }],
  },
  {
    title: "CPU",
    unit: "percentunit",
    queries: [{
      metric: "process_cpu_seconds_total",
      legend: "{{instance}} {{worker}}",
      expression: "rate($[$__rate_interval])",
    }],
  },
  {
    title: "Open descriptors",
    unit: "short",
    queries: [{ metric: "process_open_fds", legend: "{{instance}} {{worker}}", expression: "$" }],
  },
];

const FILTER = '{job=~"$job", instance=~"$instance"}';
const DATA_SOURCE = { type: "prometheus", uid: "${datasource}" } as const;

/** Creates the dashboard in Grafana's import format. */
export function createDashboard(): object {
  return {
    title: "wss",
    uid: "wss",
    schemaVersion: 39,
    version: 1,
    editable: true,
    refresh: "10s",
    time: { from: "now-1h", to: "now" },
    tags: ["websocket"],
    templating: {
      list: [
        { name: "datasource", label: "Data source", type: "datasource", query: "prometheus" },
        variable("job", "label_values(wss_build_info, job)"),
        variable("instance", 'label_values(wss_build_info{job=~"$job"}, instance)'),
      ],
    },
    panels: PANELS.map(({ title, unit, queries }, at) => ({
      id: at + 1,
      title,
      type: "timeseries",
      datasource: DATA_SOURCE,
      gridPos: { x: 12 * (at % 2), y: 8 * Math.floor(at / 2), w: 12, h: 8 },
      fieldConfig: { defaults: { unit }, overrides: [] },
      targets: queries.map(({ legend, expression, metric, suffix = "" }, place) => ({
        refId: String.fromCharCode(65 + place),
        datasource: DATA_SOURCE,
        expr: expression.replace(/\$(?![_a-z])/, () => `${metric}${suffix}${FILTER}`),
        legendFormat: legend,
      })),
    })),
  };
}

function variable(name: string, query: string): object {
  return {
    name,
    type: "query",
    datasource: DATA_SOURCE,
    query: { query, refId: name },
    includeAll: true,
    multi: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
    refresh: 2,
  };
}
