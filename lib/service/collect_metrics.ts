/**
 * Reads the metrics of a service at the moment of a scrape.
 * @module
 */
import process from "node:process";
import type { Hub } from "../hub/hub.ts";
import { labelled, type MetricValues, type Sample } from "../metrics.ts";
import { loadFfi } from "../net/ffi/load_ffi.ts";
import type { Watchdog } from "../net/watchdog/watchdog.ts";
import type { TlsMaterial } from "../tls/loaded_certificate.ts";
import { VERSION } from "../version.ts";
import type { Peer } from "../ws/app_types.ts";
import type { MemoryBudget } from "../ws/memory_budget.ts";
import type { ServiceCounters } from "../ws/service_counters.ts";

/** The parts of a service that the metrics are read from. */
export interface MetricSources {
  readonly counters: ServiceCounters;
  readonly budget: MemoryBudget;
  readonly peers: ReadonlySet<Peer>;
  readonly hub: Hub;
  readonly watchdog: Watchdog | undefined;
  readonly material: TlsMaterial | undefined;
  readonly reloads: Readonly<Record<string, number>>;
  /** In seconds. Undefined if it is not measured. */
  readonly eventLoopLag: number | undefined;
}

/** Reads the metrics. */
export function collectMetrics(sources: MetricSources): MetricValues {
  const { counters, budget, peers, hub, watchdog, material, reloads, eventLoopLag } = sources;
  const { relayed, notRelayed, tooLarge, received, missed, late } = hub.info().counts ?? {};
  const { connected } = hub;
  const broker = connected === undefined ? {} : {
    wss_broker_up: [{ value: Number(connected) }],
    wss_broker_messages_total: labelled("direction", { sent: relayed ?? 0, received: received ?? 0 }),
    wss_broker_dropped_total: labelled("reason", {
      not_sent: notRelayed ?? 0,
      too_large: tooLarge ?? 0,
      missed: missed ?? 0,
      late: late ?? 0,
    }),
  };
  let unsent = 0;
  for (const peer of peers) unsent += peer.bufferedAmount;
  const { topics, subscriptions } = hub.subscriptionCounts();
  return {
    wss_build_info: [{ labels: { version: VERSION, deno: Deno.version.deno }, value: 1 }],
    wss_connections: [{ value: peers.size }],
    wss_connections_opened_total: [{ value: counters.opened }],
    wss_connections_closed_total: labelled("code", counters.closed),
    wss_handshakes_refused_total: labelled("reason", counters.refused),
    wss_messages_total: labelled("direction", { received: counters.received, sent: budget.messages }),
    wss_message_bytes_total: labelled("direction", { received: counters.receivedBytes, sent: budget.bytes }),
    wss_send_buffer_bytes: [{ value: unsent }],
    wss_subscriptions: [{ value: subscriptions }],
    wss_topics: [{ value: topics }],
    wss_users: [{ value: hub.users.count }],
    ...(watchdog ? { wss_watchdog_ended_total: labelled("reason", watchdog.stats().ended) } : {}),
    wss_hook_errors_total: labelled("hook", counters.hookErrors),
    wss_hook_duration_seconds: Object.entries(counters.durations).flatMap(([hook, times]) => times.samples({ hook })),
    ...(eventLoopLag === undefined ? {} : { wss_event_loop_lag_seconds: [{ value: eventLoopLag }] }),
    ...(material
      ? { wss_certificate_expiry_timestamp_seconds: [{ value: Math.floor(material.notAfter.getTime() / 1000) }] }
      : {}),
    wss_reloads_total: labelled("result", reloads),
    ...broker,
    wss_nodes: [{ value: 1 + (hub.cluster?.nodes.length ?? 0) }],
    ...processMetrics(),
  };
}

/** Reads the process metrics that Prometheus' client libraries export. */
export function processMetrics(): MetricValues {
  const { system, user } = process.cpuUsage();
  const descriptors = loadFfi().ffi?.sockets.openCount();
  const open: Sample[] = descriptors === undefined ? [] : [{ value: descriptors }];
  return {
    process_resident_memory_bytes: [{ value: Deno.memoryUsage().rss }],
    process_open_fds: open,
    process_cpu_seconds_total: [{ value: (system + user) / 1e6 }],
    process_start_time_seconds: [{ value: performance.timeOrigin / 1000 }],
  };
}
