/**
 * What the metrics cost: the service beside itself without what counts messages, and beside itself with somebody who
 * scrapes it. And what can be measured alone, since the difference between two runs is often less than their noise: the
 * counting, and one scrape.
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
/** Rounds by default: one percent is looked for. */
export const METRICS_ROUNDS = 11;

const MESSAGES = 2_000_000;
const REPEATS = 9;
const CONNECTIONS = 1_000;
const SCRAPES = 200;

/** Nanoseconds that counting takes for a message that is received, handled and answered. */
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
  // The least of some: whatever else the machine does only adds.
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

/** Milliseconds of the service's CPU for one scrape, while so many connections are open. */
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
