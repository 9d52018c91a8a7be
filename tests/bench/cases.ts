/**
 * The cases of the benchmark and their goals.
 * @module
 */
import type { Load, Measured } from "./job.ts";
import type { ServerName } from "./server.ts";

/** A goal for a figure of this service, or for its ratio to another server's figure in the same round. */
export interface Goal {
  readonly what: string;
  /** The other server. Undefined if the goal needs none. */
  readonly beside?: ServerName;
  figure(ours: Measured, theirs: Measured): number;
  /** The goal: an upper or a lower bound of the figure. */
  readonly most?: number;
  readonly least?: number;
  readonly unit: string;
}

/** One case. */
export interface Case {
  readonly name: string;
  readonly title: string;
  /** What is counted. */
  readonly unit: string;
  readonly load: Load;
  readonly goals: readonly Goal[];
  /** Whether each round needs newly started servers. */
  readonly fresh?: boolean;
  /** Whether the load runs for a given time. Otherwise it ends when its connections are open. */
  readonly timed: boolean;
}

/** Seconds of the server's CPU for one message. */
export function cpuPerMessage({ serverCpu, count }: Measured): number {
  return serverCpu / count;
}

const CPU: Goal = {
  what: "CPU per message relative to raw Deno.serve with TCP_NODELAY",
  beside: "deno+nodelay",
  figure: (ours, theirs) => cpuPerMessage(ours) / cpuPerMessage(theirs),
  // Corresponds to 0.97 of the throughput if the server is the limit.
  most: 1.03,
  unit: "×",
};

/** The goals for the cost of the metrics. They apply if the variants of this service are measured. */
const METRICS: readonly Goal[] = [
  {
    what: "CPU per message relative to the service without counting",
    beside: "wss-counting",
    figure: (counting, without) => cpuPerMessage(counting) / cpuPerMessage(without),
    most: 1.01,
    unit: "×",
  },
  {
    what: "CPU per message with one scrape per second relative to none",
    beside: "wss+scrape",
    figure: (quiet, scraped) => cpuPerMessage(scraped) / cpuPerMessage(quiet),
    most: 1.01,
    unit: "×",
  },
];

const SERVED: Goal = { what: "connections refused or lost", figure: (ours) => ours.failed, most: 0, unit: "" };

/**
 * All cases, in the order in which they run.
 * @param idle number of connections of the idle case
 */
export function cases(idle: number): readonly Case[] {
  return [
    {
      name: "echo-64",
      title: "echo 64 B, 64 connections, 1 in flight",
      unit: "messages",
      load: { kind: "echo", connections: 64, inFlight: 1, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "echo-64x4",
      title: "echo 64 B, 64 connections, 4 in flight",
      unit: "messages",
      load: { kind: "echo", connections: 64, inFlight: 4, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "echo-64x16",
      title: "echo 64 B, 64 connections, 16 in flight",
      unit: "messages",
      load: { kind: "echo", connections: 64, inFlight: 16, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "echo-16k",
      title: "echo 16 KiB, 16 connections, 4 in flight",
      unit: "messages",
      load: { kind: "echo", connections: 16, inFlight: 4, size: 16_384 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "echo-16k-1",
      title: "echo 16 KiB, 1 connection, 1 in flight",
      unit: "messages",
      load: { kind: "echo", connections: 1, inFlight: 1, size: 16_384 },
      goals: [{ what: "median latency", figure: (ours) => ours.latency.p50, most: 1, unit: " ms" }],
      timed: true,
    },
    {
      name: "handshake",
      title: "full wss handshakes, 32 clients in a loop",
      unit: "handshakes",
      load: { kind: "handshake", connections: 32, inFlight: 1, size: 0 },
      goals: [{
        what: "handshakes per second relative to raw Deno.serve",
        beside: "deno",
        figure: (ours, theirs) => ours.count / ours.seconds / (theirs.count / theirs.seconds),
        least: 2.5,
        unit: "×",
      }, { ...CPU, what: "CPU per handshake relative to raw Deno.serve with TCP_NODELAY", most: 1.2 }],
      timed: true,
    },
    {
      name: "fanout",
      title: "fan-out of 64 B to 1,000, 1 publication in flight",
      unit: "deliveries",
      load: { kind: "fanout", connections: 1_000, inFlight: 1, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "fanout-x4",
      title: "fan-out of 64 B to 1,000, 4 publications in flight",
      unit: "deliveries",
      load: { kind: "fanout", connections: 1_000, inFlight: 4, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "fanout-x16",
      title: "fan-out of 64 B to 1,000, 16 publications in flight",
      unit: "deliveries",
      load: { kind: "fanout", connections: 1_000, inFlight: 16, size: 64 },
      goals: [CPU, ...METRICS],
      timed: true,
    },
    {
      name: "idle",
      title: `${idle} idle connections`,
      unit: "connections",
      load: { kind: "idle", connections: idle, inFlight: 0, size: 0 },
      goals: [{
        what: "additional memory per idle connection compared with raw Deno.serve with TCP_NODELAY",
        beside: "deno+nodelay",
        figure: (ours, theirs) => ((ours.memory?.held ?? NaN) - (theirs.memory?.held ?? NaN)) / 1024,
        most: 1,
        unit: " KiB",
      }],
      fresh: true,
      timed: false,
    },
    {
      name: "burst",
      title: "2,000 simultaneous connections",
      unit: "connections",
      load: { kind: "burst", connections: 2_000, inFlight: 0, size: 0 },
      goals: [SERVED],
      timed: false,
    },
  ];
}
