/**
 * `deno task bench -- attack`: the effect of attacks on another client and on the memory of the service. Each attack
 * gets a new process.
 * @module
 */
import { maskedFrame, Opcode, textOf } from "../support/frames.ts";
import { residentBytes } from "../support/proc.ts";
import { closeQuietly, dialUpgraded, writeAll } from "../support/raw.ts";
import type { AttackKind, AttackOrder, AttackResult } from "./attack_worker.ts";
import { pause } from "./pause.ts";
import { type Certificate, makeCertificate, type ServerName, startServer } from "./server.ts";

/** One attack. */
export interface Attack {
  readonly name: string;
  readonly title: string;
  readonly kind: AttackKind;
  readonly connections: number;
  readonly amount: number;
}

/** The effect of an attack. */
export interface Attacked {
  /** The slowest echo of the honest client, ms. Infinity if one was not answered. */
  readonly worst: number;
  /** Resident bytes before the attack. */
  readonly before: number;
  /** Most resident bytes during the attack. */
  readonly peak: number;
  readonly seconds: number;
  readonly result: AttackResult;
}

const MIB = 1024 ** 2;

/** All attacks. */
export const ATTACKS: readonly Attack[] = [
  ...[200, 1_000, 5_000].map((amount): Attack => ({
    name: `publish-${amount}`,
    title: `${amount} lines at once to 1,000 readers`,
    kind: "publish",
    connections: 1_000,
    amount,
  })),
  {
    name: "text",
    title: "8,192 messages at once on each of 400 connections",
    kind: "text",
    connections: 400,
    amount: 8_192,
  },
  { name: "pings", title: "continuous pings on 100 connections, 12 s", kind: "pings", connections: 100, amount: 12 },
  {
    name: "unread",
    title: "700,000 messages, answers not read",
    kind: "unread",
    connections: 1,
    amount: 700_000,
  },
  {
    name: "unread-40",
    title: "the same on 40 connections",
    kind: "unread",
    connections: 40,
    amount: 700_000,
  },
  {
    name: "fragments",
    title: "2.1 MiB of an unfinished message on each of 300 connections",
    kind: "fragments",
    connections: 300,
    amount: 2.1 * MIB,
  },
  { name: "close", title: "a close frame of 20 MB", kind: "close", connections: 1, amount: 20_000_000 },
  {
    name: "headers",
    title: "60 MiB in one frame on each of 50 connections",
    kind: "headers",
    connections: 50,
    amount: 60 * MIB,
  },
];

/** Longest wait for an echo, ms. */
const PATIENCE = 90_000;

/** Starts a server and runs one attack against it. */
export async function attack(it: Attack, name: ServerName, certificate: Certificate): Promise<Attacked> {
  await using server = await startServer(name, certificate);
  const target = { port: server.port, ca: certificate.ca };
  const worker = new Worker(import.meta.resolve("./attack_worker.ts"), { type: "module" });
  const honest = await dialUpgraded(target);
  try {
    const next = () =>
      new Promise<unknown>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = (event) => {
          event.preventDefault();
          reject(new Error(event.message));
        };
      });
    const ready = next();
    worker.postMessage(
      { target, kind: it.kind, connections: it.connections, amount: it.amount } satisfies AttackOrder,
    );
    const first = await ready;
    if (first !== "ready") throw new Error(`${it.name}: ${JSON.stringify(first)}; ${server.said()}`);
    await echo(honest);
    const before = residentBytes(server.pid);
    let peak = before;
    const sampling = setInterval(() => peak = Math.max(peak, residentBytes(server.pid)), 20);
    const began = performance.now();
    let over = false;
    const done = next().finally(() => over = true);
    worker.postMessage("go");
    let worst = 0;
    try {
      while (!over) {
        worst = Math.max(worst, await echo(honest));
        await pause(5);
      }
      const result = await done as AttackResult & { failed?: string };
      if (result.failed !== undefined) throw new Error(`${it.name}: ${result.failed}; ${server.said()}`);
      return { worst, before, peak, seconds: (performance.now() - began) / 1000, result };
    } finally {
      clearInterval(sampling);
    }
  } finally {
    worker.terminate();
    closeQuietly(honest);
  }
}

const question = maskedFrame(Opcode.Text, textOf(8));
/** Bytes of the answer to the question. */
const ANSWER = 10;

/** Returns the time of an echo, ms. Infinity if the connection has ended or the answer does not arrive. */
async function echo(conn: Deno.Conn): Promise<number> {
  const began = performance.now();
  const buffer = new Uint8Array(64);
  try {
    await writeAll(conn, question);
    // The service may send a ping, which is two bytes long, before the answer.
    for (let left = ANSWER; left > 0;) {
      const length = await Promise.race([conn.read(buffer), pause(PATIENCE)]);
      if (typeof length !== "number") return Infinity;
      const pings = buffer.subarray(0, length).filter((byte) => byte === 0x80 + Opcode.Ping).length;
      left -= length - pings * 2;
    }
    return performance.now() - began;
  } catch {
    return Infinity;
  }
}

/** `deno task bench -- attack`. */
export async function attackCommand(
  { names, servers, json, print, note }: {
    readonly names: readonly string[];
    readonly servers: readonly ServerName[];
    readonly json: boolean;
    print(text: string): void;
    note(text: string): void;
  },
): Promise<void> {
  const chosen = names.length === 0 ? ATTACKS : names.map((name) => {
    const found = ATTACKS.find((it) => it.name === name);
    if (!found) {
      throw new RangeError(
        `Cannot run the attack ${name}: it must be one of ${ATTACKS.map((it) => it.name).join(" ")}`,
      );
    }
    return found;
  });
  await using certificate = await makeCertificate();
  const figures: Record<string, Record<string, Attacked>> = {};
  if (!json) {
    print(
      "| attack | server | slowest echo of another client | memory before → peak | connections ended | delivered |",
    );
    print("| --- | --- | --- | --- | --- | --- |");
  }
  for (const it of chosen) {
    figures[it.name] = {};
    for (const name of servers) {
      note(`${it.name}: ${name}`);
      const attacked = figures[it.name]![name] = await attack(it, name, certificate);
      if (!json) print(row(it, name, attacked));
    }
  }
  if (json) print(JSON.stringify(figures, null, 2));
}

function row(it: Attack, name: ServerName, { worst, before, peak, result }: Attacked): string {
  const latency = worst === Infinity ? "no answer" : `${Math.round(worst).toLocaleString("en")} ms`;
  const memory = `${Math.round(before / MIB)} → ${Math.round(peak / MIB).toLocaleString("en")} MiB`;
  const delivered = result.delivered === undefined ? "" : `${(result.delivered * 100).toFixed(1)} %`;
  return `| ${it.title} | ${name} | ${latency} | ${memory} | ${result.cut} of ${it.connections} | ${delivered} |`;
}
