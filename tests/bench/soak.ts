/**
 * Runs good and bad peers at random against a service in a separate process. The good peers must lose nothing.
 * Afterwards the counts, descriptors and memory of the service must be back at their earlier values.
 * @module
 */
import { maskedFrame, Opcode } from "../support/frames.ts";
import { childrenOf, descriptors, residentBytes } from "../support/proc.ts";
import { closeQuietly, dialUpgraded, writeAll } from "../support/raw.ts";
import { misbehave, type Tally } from "./bad_peers.ts";
import { behave, type Goodness } from "./good_peers.ts";
import { pause } from "./pause.ts";
import { type Certificate, makeCertificate, startServer } from "./server.ts";

/** Options of the soak test. */
export interface SoakOptions {
  /** How long the peers run, without the warm-up and the wait for the service to come to rest. */
  readonly seconds: number;
  /** Seed of the random peers. */
  readonly seed: number;
  /** Worker processes of the service. Default: the service runs as one process. */
  readonly workers?: number | undefined;
  /** Reports progress. */
  readonly note?: (text: string) => void;
}

/** The service at rest. */
export interface Rest {
  readonly peers: number;
  readonly descriptors: readonly string[];
  readonly resident: number;
}

/** The result of the soak test. */
export interface SoakResult {
  readonly seed: number;
  readonly seconds: number;
  readonly good: Goodness;
  readonly bad: Tally;
  readonly before: Rest;
  readonly after: Rest;
  /** The faults that were found. Empty if the test passed. */
  readonly problems: readonly string[];
}

const GOOD = 16;
const BAD = 16;
/** Duration of the warm-up, s. The same load makes the service compile code and grow its buffers before the test. */
const WARM_UP = 10;
/** How long the service may take to come to rest, ms. */
const PATIENCE = 30_000;
/** Growth of memory up to this factor is not a leak. */
const MORE_MEMORY = 1.2;
/** Low limits, so a short run reaches each of them many times. */
const LIMITS = [
  ...["--max-payload", "64KiB", "--max-backpressure", "256KiB", "--handshake-timeout", "2s"],
  ...["--idle-timeout", "4s", "--drain-timeout", "1s"],
];

/** Runs the soak test. Takes `seconds`, 10 s to warm up, and at most twice 30 s for the service to come to rest. */
export async function soak({ seconds, seed, workers, note = () => {} }: SoakOptions): Promise<SoakResult> {
  await using certificate = await makeCertificate();
  const options = workers === undefined ? LIMITS : [...LIMITS, "--workers", `${workers}`];
  await using server = await startServer("wss", certificate, { options, tight: true });
  const target = { port: server.port, ca: certificate.ca };
  // The service opens some descriptors with the first connection and keeps them.
  for (let i = 0; i < 3; i++) await collect(target);
  const fresh = descriptorsOf(server.pid);

  /** Runs the good and the bad peers for some seconds. */
  async function mix(length: number, random: number): Promise<{ good: Goodness; bad: Tally }> {
    const until = performance.now() + length * 1000;
    const [good, bad] = await Promise.all([
      behave(target, GOOD, random, until),
      misbehave(target, BAD, random + GOOD, until),
    ]);
    return { good, bad };
  }

  note(`seed ${seed}: warming up for ${WARM_UP} s`);
  const rehearsal = await mix(WARM_UP, seed + 1_000);
  const before = await atRest(server.pid, target, certificate, fresh.length, Infinity);
  note(`at rest: ${describeRest(before)}; ${seconds} s of ${GOOD} good and ${BAD} bad peers`);
  const { good, bad } = await mix(seconds, seed);
  const after = await atRest(server.pid, target, certificate, before.descriptors.length, before.resident * MORE_MEMORY);
  note(`at rest: ${describeRest(after)}`);

  const problems = [...rehearsal.good.lost, ...good.lost, ...rehearsal.bad.wrong, ...bad.wrong];
  if (good.messages === 0) problems.push("no message of the good peers was answered");
  problems.push(...leaked("the warm-up", fresh, before.descriptors));
  if (after.peers !== 0) problems.push(`peers: /healthz counts ${after.peers} although no peer is connected`);
  problems.push(...leaked("the soak", before.descriptors, after.descriptors));
  if (after.resident > before.resident * MORE_MEMORY) {
    problems.push(`memory: ${mebibytes(after.resident)} at the end, ${mebibytes(before.resident)} before`);
  }
  const { success, code } = await server.stop();
  if (!success) problems.push(`the service exited with code ${code} on SIGTERM: ${server.said()}`);
  return { seed, seconds, good, bad, before, after, problems };
}

/** `deno task bench -- soak`. Returns exit code 1 if there are problems. */
export async function soakCommand(
  { seconds, seed = Math.floor(Math.random() * 1e6), workers, json, print, note }: {
    readonly seconds: number;
    readonly seed: number | undefined;
    readonly workers: number | undefined;
    readonly json: boolean;
    print(text: string): void;
    note(text: string): void;
  },
): Promise<number> {
  const result = await soak({ seconds, seed, workers, note });
  print(json ? JSON.stringify(result, null, 2) : describeSoak(result));
  return result.problems.length === 0 ? 0 : 1;
}

/** Formats the result as text. */
export function describeSoak({ seed, good, bad, before, after, problems }: SoakResult): string {
  const { messages, connections, latency } = good;
  return [
    `soak, seed ${seed}`,
    `  good: ${messages} messages over ${connections} connections, each verified; ` +
    `p50 ${latency.p50.toFixed(1)} ms, p99 ${latency.p99.toFixed(0)} ms, max ${latency.max.toFixed(0)} ms`,
    `  bad: ${Object.entries(bad.times).map(([kind, times]) => `${kind} ${times}`).join(", ")}`,
    `  before: ${describeRest(before)}`,
    `  after: ${describeRest(after)}`,
    ...problems.map((problem) => `  WRONG: ${problem}`),
    ...(problems.length === 0 ? ["  no message lost, no resource leaked"] : []),
  ].join("\n");
}

/** Compares only the number of descriptors, because the system uses the same descriptor numbers again. */
function leaked(when: string, before: readonly string[], after: readonly string[]): string[] {
  if (after.length <= before.length) return [];
  const strange = after.filter((descriptor) => !before.includes(descriptor));
  return [`descriptors: ${before.length} before ${when}, ${after.length} after it; new: ${strange.join(", ")}`];
}

function describeRest({ peers, descriptors, resident }: Rest): string {
  return `${peers} peers, ${descriptors.length} descriptors, ${mebibytes(resident)}`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 ** 2).toFixed(1)} MiB`;
}

/**
 * Makes the service collect its garbage until no peer is connected and descriptors and memory are at most as expected,
 * or until `PATIENCE` has passed. V8 and the allocator take some seconds to return freed memory to the system.
 * @param expected number of descriptors
 * @param enough bytes of resident memory
 */
async function atRest(
  pid: number,
  target: { port: number; ca: string },
  certificate: Certificate,
  expected: number,
  enough: number,
): Promise<Rest> {
  const until = performance.now() + PATIENCE;
  let peers: number;
  do {
    for (let i = 0; i < 3; i++) await collect(target);
    peers = await countPeers(target.port, certificate);
    // The connection of this request must close, too.
    await pause(250);
  } while (
    (peers > 0 || descriptorsOf(pid).length > expected || residentOf(pid) > enough) && performance.now() < until
  );
  return { peers, descriptors: descriptorsOf(pid), resident: residentOf(pid) };
}

/** The descriptors of the service's process and its workers. */
function descriptorsOf(pid: number): string[] {
  return [pid, ...childrenOf(pid)].flatMap(descriptors);
}

/** The resident memory of the service's process and its workers, bytes. */
function residentOf(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, each) => sum + residentBytes(each), 0);
}

async function collect(target: { port: number; ca: string }): Promise<void> {
  const conn = await dialUpgraded(target);
  try {
    await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array([3])));
    await conn.read(new Uint8Array(64));
    await writeAll(conn, maskedFrame(Opcode.Close, new Uint8Array([0x03, 0xe8])));
    while (await conn.read(new Uint8Array(64)) !== null);
  } finally {
    closeQuietly(conn);
  }
  await pause(300);
}

async function countPeers(port: number, { ca }: Certificate): Promise<number> {
  using client = Deno.createHttpClient({ caCerts: [ca], poolMaxIdlePerHost: 0 });
  const response = await fetch(`https://localhost:${port}/healthz`, { client });
  return ((await response.json()) as { peers: number }).peers;
}
