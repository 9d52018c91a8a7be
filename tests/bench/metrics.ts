/**
 * The cost of the metrics. Compares the service with a copy that counts no messages, and with the same service while it
 * is scraped. The difference between two runs is often smaller than their noise, so the counting and one scrape are
 * also measured on their own.
 * @module
 */
import { MemoryBudget } from "../../lib/ws/memory_budget.ts";
import { ServiceCounters } from "../../lib/ws/service_counters.ts";
import { cpuSeconds } from "../support/proc.ts";
import { closeQuietly } from "../support/raw.ts";
import { connectMany } from "./many.ts";
import { type Certificate, type ServerName, startServer } from "./server.ts";

/** The servers and cases that are compared by default. */
export const METRICS_SERVERS = ["wss", "wss-counting", "wss+scrape"] as const satisfies readonly ServerName[];
export const METRICS_CASES = ["echo-64", "echo-64x16", "fanout"] as const;
/** Rounds by default: the goals are differences of one percent. */
export const METRICS_ROUNDS = 11;

const MESSAGES = 2_000_000;
const REPEATS = 9;
const CONNECTIONS = 1_000;
const SCRAPES = 200;

/** Measures the time of counting for one message that is received, handled and answered, ns. */
export function countingCost(): number {
  const counters = new ServiceCounters();
  const budget = new MemoryBudget(Infinity);
  let handled = 0;
  const hook = () => void handled++;
  const plain = () => {
    for (let i = 0; i < MESSAGES; i++) hook();
  };
  const counted = () => {
    for (let i = 0; i < MESSAGES; i++) {
      counters.receive(64);
      if (counters.measured) counters.measure("message", hook);
      else hook();
      budget.messages++;
      budget.bytes += 64;
    }
  };
  // The minimum, because other activity of the machine only adds time.
  const [without, withIt] = [plain, counted].map((run) =>
    Math.min(...Array.from({ length: REPEATS }, () => {
      const began = performance.now();
      run();
      return performance.now() - began;
    }))
  );
  if (handled !== 2 * MESSAGES * REPEATS) throw new Error("the hook was not called for each message");
  return (withIt! - without!) * 1e6 / MESSAGES;
}

/** Measures the service's CPU time for one scrape with many open connections, ms. */
export async function scrapeCost(certificate: Certificate, pin: boolean): Promise<{ connections: number; ms: number }> {
  await using server = await startServer("wss", certificate, { pin, options: ["--admin", "127.0.0.1:0"] });
  const open = await connectMany({ port: server.port, ca: certificate.ca }, CONNECTIONS);
  try {
    const scrape = async (times: number) => {
      for (let i = 0; i < times; i++) await (await fetch(`${server.admin}/metrics`)).text();
    };
    await scrape(SCRAPES);
    const before = cpuSeconds(server.pid);
    await scrape(SCRAPES);
    return { connections: CONNECTIONS, ms: (cpuSeconds(server.pid) - before) * 1000 / SCRAPES };
  } finally {
    open.forEach(closeQuietly);
  }
}
