/**
 * The cost of a start and of an idle service. Compares this service in direct mode with an existing certificate
 * with raw Deno.serve with TLS, one after the other in each round.
 * @module
 */
import { cpuSeconds, residentBytes } from "../support/proc.ts";
import { median } from "./report.ts";
import { makeCertificate, type ServerName, startServer } from "./server.ts";

/** The servers that are compared. */
const COMPARED = ["wss", "deno"] as const satisfies readonly ServerName[];

/** The measurements of one start. */
export interface Start {
  /** Milliseconds from the start of the process until it reports that it listens. */
  readonly ready: number;
  /** Milliseconds of CPU until then, of all threads, with a resolution of 10 ms. */
  readonly cpu: number;
  /** Resident bytes after two idle seconds. */
  readonly resident: number;
}

/** Idle time before a server's memory is read, ms. The work that a start does in the background is done by then. */
const IDLE = 2_000;

/** The goals, on an otherwise idle machine. */
const GOALS = { ready: 90, resident: 70 * 1024 ** 2 } as const;

/**
 * Starts each server once per round. The first start of each is not counted, because it compiles the code.
 * @param note reports progress
 */
export async function measureStarts(
  rounds: number,
  note: (text: string) => void,
): Promise<ReadonlyMap<ServerName, readonly Start[]>> {
  await using certificate = await makeCertificate();
  const starts = new Map<ServerName, Start[]>(COMPARED.map((name) => [name, []]));
  for (let round = 0; round <= rounds; round++) {
    note(round === 0 ? "start: warming up" : `start: round ${round} of ${rounds}`);
    for (const name of COMPARED) {
      const begun = performance.now();
      await using server = await startServer(name, certificate);
      const ready = performance.now() - begun;
      const cpu = cpuSeconds(server.pid) * 1000;
      await new Promise((resolve) => setTimeout(resolve, IDLE));
      if (round > 0) starts.get(name)!.push({ ready, cpu, resident: residentBytes(server.pid) });
    }
  }
  return starts;
}

/** Formats the starts as a table, followed by the goals. */
export function describeStarts(starts: ReadonlyMap<ServerName, readonly Start[]>): string {
  const rows = [...starts].map(([name, each]) => {
    const of = (figure: (start: Start) => number) => Math.round(median(each.map(figure)));
    return `  ${name.padEnd(5)}${String(of(({ ready }) => ready)).padStart(9)}${
      String(of(({ cpu }) => cpu)).padStart(9)
    }${String(of(({ resident }) => resident / 1024 ** 2)).padStart(9)}`;
  });
  const ours = starts.get("wss") ?? [];
  const ready = median(ours.map((start) => start.ready));
  const resident = median(ours.map((start) => start.resident));
  return [
    "warm start and idle service",
    `  ${"".padEnd(5)}${"ms".padStart(9)}${"CPU ms".padStart(9)}${"MiB".padStart(9)}`,
    ...rows,
    `  ${ready <= GOALS.ready ? "met" : "MISSED"}: warm start: ${ready.toFixed(0)} ms (at most ${GOALS.ready} ms)`,
    `  ${resident <= GOALS.resident ? "met" : "MISSED"}: idle memory: ${
      (resident / 1024 ** 2).toFixed(0)
    } MiB (at most ${GOALS.resident / 1024 ** 2} MiB)`,
  ].join("\n");
}
