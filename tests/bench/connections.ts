/**
 * Load that is made of connections: handshakes in a loop, idle ones for their memory, all at once.
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

/** Each client connects, upgrades, closes and begins again. */
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

/** Connections opened and closed first, so that code and buffers that stay are there before the measurement. */
const REHEARSAL = 200;
/** How long a server gets to come to rest, ms. */
const SETTLE = 1_000;

/**
 * Opens connections that then say nothing, in two halves, and sees how much larger the server has become. What the
 * second half added is what connections hold; the first pays for what is made once.
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

/** Lets the server collect its garbage, twice: finalizers run after the first. */
async function rest(target: RawTarget): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await pause(SETTLE / 2);
    const conn = await dialUpgraded(target);
    await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array([3])));
    if (await conn.read(new Uint8Array(64)) === null) throw new Error("the server did not collect");
    conn.close();
  }
  await pause(SETTLE / 2);
}

/** Everybody connects in the same moment. */
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
