/**
 * Connection load: handshakes in a loop, the memory of idle connections, and many simultaneous connections.
 * @module
 */
import { maskedFrame, Opcode } from "../support/frames.ts";
import { cpuSeconds, residentBytes } from "../support/proc.ts";
import { closeQuietly, dialUpgraded, type RawTarget, writeAll } from "../support/raw.ts";
import { Histogram } from "./histogram.ts";
import type { Job, Measured } from "./job.ts";
import { connectMany } from "./many.ts";
import { pause } from "./pause.ts";
import { Window } from "./window.ts";

/** Each client connects, upgrades and closes in a loop. */
export async function handshake(job: Job): Promise<Measured> {
  const window = new Window(job);
  const goodbye = maskedFrame(Opcode.Close, new Uint8Array([0x03, 0xe8]));
  const client = async () => {
    while (!window.over) {
      const began = performance.now();
      const conn = await dialUpgraded(job.target);
      window.add(performance.now() - began, 1);
      await writeAll(conn, goodbye);
      conn.close();
    }
  };
  const clients = Array.from({ length: job.connections }, () => client().catch((error) => window.fail(error)));
  const measured = await window.measure();
  await Promise.all(clients);
  return measured;
}

/** Connections opened and closed first, to compile code and allocate lasting buffers before the measurement. */
const REHEARSAL = 200;
/** How long a server gets to finish its work in the background, ms. */
const SETTLE = 1_000;

/**
 * Opens idle connections in two halves and measures the growth of the server's memory. The growth with the second half
 * is the memory of the connections; the growth with the first half includes what the server allocates once.
 */
export async function idle(job: Job): Promise<Measured> {
  const { target, pid, connections } = job;
  const half = Math.ceil(connections / 2);
  (await connectMany(target, REHEARSAL)).forEach(closeQuietly);
  await rest(target);
  const before = residentBytes(pid);
  const server = cpuSeconds(pid);
  const generator = cpuSeconds(Deno.pid);
  const began = performance.now();
  const conns = await connectMany(target, half);
  await rest(target);
  const between = residentBytes(pid);
  conns.push(...await connectMany(target, connections - half));
  const seconds = (performance.now() - began) / 1000;
  const [serverCpu, generatorCpu] = [cpuSeconds(pid) - server, cpuSeconds(Deno.pid) - generator];
  await pause(SETTLE);
  const resident = (residentBytes(pid) - before) / connections;
  await rest(target);
  const held = (residentBytes(pid) - between) / (connections - half);
  conns.forEach(closeQuietly);
  const latency = new Histogram().latency();
  return { count: connections, seconds, serverCpu, generatorCpu, latency, failed: 0, memory: { resident, held } };
}

/** Makes the server collect its garbage twice, because finalizers run after the first collection. */
async function rest(target: RawTarget): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await pause(SETTLE / 2);
    const conn = await dialUpgraded(target);
    await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array([3])));
    if (await conn.read(new Uint8Array(64)) === null) throw new Error("the server did not collect its garbage");
    conn.close();
  }
  await pause(SETTLE / 2);
}

/** Opens all connections at the same time. */
export async function burst(job: Job): Promise<Measured> {
  const { target, pid, connections } = job;
  const histogram = new Histogram();
  const server = cpuSeconds(pid);
  const generator = cpuSeconds(Deno.pid);
  const began = performance.now();
  const results = await Promise.allSettled(Array.from({ length: connections }, async () => {
    const conn = await dialUpgraded(target);
    histogram.add(performance.now() - began);
    return conn;
  }));
  const seconds = (performance.now() - began) / 1000;
  const [serverCpu, generatorCpu] = [cpuSeconds(pid) - server, cpuSeconds(Deno.pid) - generator];
  const conns = results.filter((result) => result.status === "fulfilled").map(({ value }) => value);
  conns.forEach(closeQuietly);
  const failed = connections - conns.length;
  return { count: conns.length, seconds, serverCpu, generatorCpu, latency: histogram.latency(), failed };
}
