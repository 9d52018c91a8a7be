/**
 * One process compared with `--workers 2`: messages per second and CPU per message, with plain echo and with an app
 * that computes. Also the CPU of the supervisor, when idle and for a message between two workers. Nothing is pinned:
 * servers and load generator share all cores, so CPU is more meaningful than throughput.
 * @module
 */
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";
import { childrenOf, cpuSeconds } from "../support/proc.ts";
import { closeQuietly, dialUpgraded, type RawTarget, writeAll } from "../support/raw.ts";
import type { Job, Measured } from "./job.ts";
import { pause } from "./pause.ts";
import { cpuPerMessage } from "./cases.ts";
import { median } from "./report.ts";
import { type Certificate, makeCertificate, type RunningServer, startServer } from "./server.ts";

/** Options of the measurement. */
export interface WorkersOptions {
  readonly seconds: number;
  readonly warmUp: number;
  readonly rounds: number;
  readonly json: boolean;
  generate(job: Job): Promise<Measured>;
  print(text: string): void;
}

const VARIANTS = [
  { name: "1 process", options: [] },
  { name: "--workers 1", options: ["--workers", "1"] },
  { name: "--workers 2", options: ["--workers", "2"] },
] as const;
const LOADS = [
  { title: "echo 64 B, 64 connections, 1 in flight", app: "servers/app.ts", inFlight: 1 },
  { title: "the same with 0.1 ms of work per message", app: "servers/work.ts", inFlight: 1 },
] as const;
const SIZE = 64;
/** Publications in flight. */
const IN_FLIGHT = 16;
/** Clients in the same worker after which the benchmark gives up. The probability is 1 in 2^64. */
const ATTEMPTS = 64;

/** The medians of one variant under one load, or the cost of a message between two peers. */
interface Figures {
  readonly title: string;
  readonly perSecond: number;
  /** Microseconds of CPU per message: of all processes, and of the supervisor alone. */
  readonly cpu: number;
  readonly supervisor?: number;
  /** Milliseconds. */
  readonly p50?: number;
  readonly p99?: number;
}

/** `deno task bench -- workers`. */
export async function workersCommand(options: WorkersOptions): Promise<number> {
  const { json, print } = options;
  await using certificate = await makeCertificate();
  const figures: Figures[] = [];
  for (const { title, app, inFlight } of LOADS) {
    if (!json) print(title);
    for (const each of await compare(options, certificate, app, inFlight)) {
      figures.push({ ...each, title: `${title}, ${each.title}` });
      if (!json) print(describe(each));
    }
  }
  await using server = await startServer("wss", certificate, { app: "servers/work.ts", options: ["--workers", "2"] });
  const idle = await idleCpu(server.pid, options.seconds);
  const between = [await alone(certificate, options), ...await publications(server, certificate, options)];
  if (json) print(JSON.stringify({ deno: Deno.version.deno, figures, idle, between }, null, 2));
  else {
    print(`64 B from one peer to another, ${IN_FLIGHT} in flight`);
    between.forEach((each) => print(describe(each)));
    print(`the idle supervisor: ${idle.toFixed(1)} ms of CPU per second`);
  }
  return 0;
}

/** Measures all variants in each round, one after the other. */
async function compare(
  { seconds, warmUp, rounds, generate }: WorkersOptions,
  certificate: Certificate,
  app: string,
  inFlight: number,
): Promise<Figures[]> {
  await using stack = new AsyncDisposableStack();
  const runs = [];
  for (const { name, options } of VARIANTS) {
    const server = stack.use(await startServer("wss", certificate, { app, options }));
    const workers = options.length > 0 ? childrenOf(server.pid) : [];
    runs.push({ name, server, workers, measured: [] as Measured[], supervisor: [] as number[] });
  }
  for (let round = 0; round < rounds; round++) {
    for (const { server: { port, pid }, workers, measured, supervisor } of runs) {
      const load = { kind: "echo", connections: 64, inFlight, size: SIZE } as const;
      const before = cpuSeconds(pid);
      measured.push(await generate({ ...load, target: { port, ca: certificate.ca }, pid, workers, warmUp, seconds }));
      // Includes the CPU of the warm-up, so the figure is slightly too high.
      supervisor.push((cpuSeconds(pid) - before) / measured.at(-1)!.count);
    }
  }
  return runs.map(({ name, workers, measured, supervisor }) => ({
    title: name,
    perSecond: median(measured.map(({ count, seconds }) => count / seconds)),
    cpu: median(measured.map(cpuPerMessage)) * 1e6,
    ...(workers.length > 0 ? { supervisor: median(supervisor) * 1e6 } : {}),
    p50: median(measured.map(({ latency }) => latency.p50)),
    p99: median(measured.map(({ latency }) => latency.p99)),
  }));
}

/** Milliseconds of CPU per second. */
async function idleCpu(pid: number, seconds: number): Promise<number> {
  await pause(1_000);
  const before = cpuSeconds(pid);
  await pause(seconds * 1_000);
  return (cpuSeconds(pid) - before) * 1_000 / seconds;
}

/** A peer publishes to a subscriber of a service with one process. */
async function alone(certificate: Certificate, options: WorkersOptions): Promise<Figures> {
  await using server = await startServer("wss", certificate, { app: "servers/work.ts" });
  const conns: Deno.Conn[] = [];
  try {
    for (let count = 0; count < 2; count++) {
      conns.push(await dialUpgraded({ port: server.port, ca: certificate.ca }));
    }
    return { title: "1 process", ...await exchange(conns[0]!, conns[1]!, { workers: [server.pid] }, options) };
  } finally {
    conns.forEach(closeQuietly);
  }
}

/** A peer publishes to a subscriber in its own worker, then to one in the other worker. */
async function publications(
  server: RunningServer,
  certificate: Certificate,
  options: WorkersOptions,
): Promise<Figures[]> {
  const target = { port: server.port, ca: certificate.ca };
  const conns: { readonly conn: Deno.Conn; readonly worker: string }[] = [];
  try {
    let [local, remote]: (Deno.Conn | undefined)[] = [];
    while (local === undefined || remote === undefined) {
      if (conns.length === ATTEMPTS) throw new Error(`all ${ATTEMPTS} clients were connected to the same worker`);
      const next = await identified(target);
      conns.push(next);
      if (next.worker !== conns[0]!.worker) remote ??= next.conn;
      else if (conns.length > 1) local ??= next.conn;
    }
    const publisher = conns[0]!.conn;
    const pids = { supervisor: server.pid, workers: childrenOf(server.pid) };
    return [
      { title: "in one worker", ...await exchange(publisher, local, pids, options) },
      { title: "between workers", ...await exchange(publisher, remote, pids, options) },
    ];
  } finally {
    conns.forEach(({ conn }) => closeQuietly(conn));
  }
}

/** Connects a client and asks for the process ID of its worker. */
async function identified(target: RawTarget): Promise<{ conn: Deno.Conn; worker: string }> {
  const conn = await dialUpgraded(target);
  await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array([4])));
  const buffer = new Uint8Array(64);
  const length = await conn.read(buffer);
  if (length === null) throw new Error("the service closed a connection");
  return { conn, worker: new TextDecoder().decode(buffer.subarray(2, length)) };
}

async function exchange(
  publisher: Deno.Conn,
  subscriber: Deno.Conn,
  { supervisor, workers }: { readonly supervisor?: number; readonly workers: readonly number[] },
  { seconds, warmUp }: WorkersOptions,
): Promise<Omit<Figures, "title">> {
  const payload = textOf(SIZE);
  const publication = maskedFrame(Opcode.Binary, new Uint8Array([2, ...payload]));
  const frame = serverFrame(Opcode.Text, payload).length;
  await writeAll(subscriber, maskedFrame(Opcode.Binary, new Uint8Array([1])));
  // The other worker gets the subscription through the supervisor.
  await pause(1_000);
  for (let sent = 0; sent < IN_FLIGHT; sent++) await writeAll(publisher, publication);
  const used = () => {
    const own = supervisor === undefined ? 0 : cpuSeconds(supervisor);
    return { supervisor: own, all: workers.reduce((sum, pid) => sum + cpuSeconds(pid), own) };
  };
  const buffer = new Uint8Array(64 * 1024);
  const until = performance.now() + (warmUp + seconds) * 1_000;
  let measured: { readonly at: number; readonly all: number; readonly supervisor: number } | undefined;
  let [count, rest] = [0, 0];
  while (performance.now() < until) {
    const length = await subscriber.read(buffer);
    if (length === null) throw new Error("the service closed a connection");
    for (rest += length; rest >= frame; rest -= frame) {
      count++;
      await writeAll(publisher, publication);
    }
    if (measured === undefined && performance.now() >= until - seconds * 1_000) {
      measured = { at: performance.now(), ...used() };
      count = 0;
    }
  }
  const now = used();
  const { at, all, supervisor: own } = measured!;
  return {
    perSecond: count * 1_000 / (performance.now() - at),
    cpu: (now.all - all) * 1e6 / count,
    ...(supervisor === undefined ? {} : { supervisor: (now.supervisor - own) * 1e6 / count }),
  };
}

function describe({ title, perSecond, cpu, supervisor, p50, p99 }: Figures): string {
  const latency = p50 === undefined ? "" : `, p50 ${p50.toFixed(2)} ms, p99 ${p99!.toFixed(2)} ms`;
  const share = supervisor === undefined ? "" : `, ${supervisor.toFixed(2)} µs of it in the supervisor`;
  return `  ${title.padEnd(16)}${Math.round(perSecond).toLocaleString("en").padStart(9)}/s, CPU ${
    cpu.toFixed(1)
  } µs each${share}${latency}`;
}
