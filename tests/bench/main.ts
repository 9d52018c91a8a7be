/**
 * `deno task bench` compares this service with raw Deno.serve, ws on Node, and Bun. The servers run on the first core,
 * the load generator on the second. Further commands:
 * - `deno task bench -- start`: time of a start, and memory of the idle service
 * - `deno task bench -- soak`: good and bad peers at the same time
 * - `deno task bench -- attack`: the effect of attacks on another client
 * - `deno task bench -- broker`: three nodes connected by NATS or Redis
 * - `deno task bench -- workers`: one process compared with several
 * - `deno task bench -- metrics`: the cost of the metrics
 * @module
 */
import { parseArgs } from "@std/cli/parse-args";
import { messageOf } from "../../lib/errors.ts";
import { attackCommand } from "./attack.ts";
import { brokerCommand } from "./broker.ts";
import { type Case, cases } from "./cases.ts";
import type { Job, Measured } from "./job.ts";
import { countingCost, METRICS_CASES, METRICS_ROUNDS, METRICS_SERVERS, scrapeCost } from "./metrics.ts";
import { describe, reached, type Rounds } from "./report.ts";
import {
  absence,
  canPin,
  type Certificate,
  makeCertificate,
  onCore,
  type RunningServer,
  type ServerName,
  SERVERS,
  startServer,
  VARIANTS,
} from "./server.ts";
import { soakCommand } from "./soak.ts";
import { describeStarts, measureStarts } from "./start.ts";
import { workersCommand } from "./workers.ts";

const USAGE = `deno task bench [-- CASE… | start | soak | attack [NAME…] | broker | workers | metrics [CASE…]]
                [options]
  start           time of a warm start and idle memory, compared with raw Deno.serve with TLS
  workers         one process compared with --workers 2, with and without work; messages between workers
  metrics         the cost of the metrics: with and without counting, and with one scrape per second
  CASE            echo-64 echo-64x4 echo-64x16 echo-16k echo-16k-1 handshake fanout fanout-x4 fanout-x16 idle
                  burst; all by default
  --seconds N     duration of a round (3; broker: 5, workers: 3) or of the soak test (60)
  --rounds N      number of rounds; the result is their median (3; metrics: ${METRICS_ROUNDS})
  --servers A,B   of ${SERVERS.join(" ")}, all that are installed by default; and
                  ${VARIANTS.join(" ")}
  --scrape        also measures this service while its metrics are scraped once per second
  --idle N        number of connections of the idle case (2000)
  --warm-up N     seconds of load before each measurement (1)
  --seed N        soak: seed of the random peers; repeats a run (random by default)
  --workers N     soak: number of worker processes
  --json          prints the figures as JSON
`;

interface Options {
  readonly cases: readonly Case[];
  readonly servers: readonly ServerName[];
  readonly seconds: number;
  readonly warmUp: number;
  readonly rounds: number;
  readonly json: boolean;
}

function note(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function positive(name: string, text: unknown): number {
  const value = Number(text);
  if (!(value > 0 && value < Infinity)) throw new RangeError(`--${name} must be a number above 0, not ${text}`);
  return value;
}

function whole(name: string, text: unknown): number {
  const value = positive(name, text);
  if (!Number.isInteger(value)) throw new RangeError(`--${name} must be a whole number, not ${text}`);
  return value;
}

/** Returns the servers that are installed. Prints a note for each of the others. */
async function present(names: readonly string[]): Promise<ServerName[]> {
  const servers: ServerName[] = [];
  for (const name of names) {
    const known = [...SERVERS, ...VARIANTS].find((server) => server === name);
    if (!known) {
      throw new RangeError(
        `Cannot measure the server ${name}: it must be one of ${[...SERVERS, ...VARIANTS].join(" ")}`,
      );
    }
    const reason = await absence(known);
    if (reason === undefined) servers.push(known);
    else note(reason);
  }
  return servers;
}

async function readOptions(flags: Readonly<Record<string, unknown>>, names: readonly unknown[]): Promise<Options> {
  const all = cases(whole("idle", flags.idle));
  const chosen = names.map((name) => {
    const found = all.find((it) => it.name === name);
    if (!found) {
      throw new RangeError(`Cannot run the case ${name}: it must be one of ${all.map((it) => it.name).join(" ")}`);
    }
    return found;
  });
  const servers = await present(flags.servers === "" ? SERVERS : String(flags.servers).split(","));
  if (flags.scrape === true && !servers.includes("wss+scrape")) servers.push("wss+scrape");
  return {
    cases: chosen.length > 0 ? chosen : all,
    servers,
    seconds: positive("seconds", flags.seconds || 3),
    warmUp: positive("warm-up", flags["warm-up"]),
    rounds: whole("rounds", flags.rounds || 3),
    json: flags.json === true,
  };
}

async function generate(job: Job, pin: boolean): Promise<Measured> {
  const generator = new URL("generator.ts", import.meta.url).pathname;
  const [program, ...args] = onCore(1, pin, [Deno.execPath(), "run", "-A", generator, JSON.stringify(job)]);
  const { success, stdout, stderr } = await new Deno.Command(program!, { args, stdin: "null" }).output();
  if (!success) throw new Error(`the load generator failed: ${new TextDecoder().decode(stderr).trim()}`);
  return JSON.parse(new TextDecoder().decode(stdout)) as Measured;
}

/** Runs a case. Each round measures all servers, so a temporary disturbance of the machine affects all of them. */
async function runCase(it: Case, options: Options, certificate: Certificate, pin: boolean): Promise<Rounds> {
  const { servers, seconds, warmUp, rounds } = options;
  await using running = new AsyncDisposableStack();
  const start = async (name: ServerName) =>
    running.use(await startServer(name, certificate, { pin, tight: it.load.kind === "idle" }));
  const lasting = new Map<ServerName, RunningServer>();
  const results = new Map<ServerName, Measured[]>(servers.map((name) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    // Reverses the order in every second round: A B, B A. No server always runs after the same other one.
    for (const name of round % 2 === 0 ? servers : servers.toReversed()) {
      const server = (it.fresh ? undefined : lasting.get(name)) ?? await start(name);
      lasting.set(name, server);
      const target = { port: server.port, ca: certificate.ca };
      try {
        results.get(name)!.push(await generate({ ...it.load, target, pid: server.pid, warmUp, seconds }, pin));
      } catch (error) {
        throw new Error(`${it.name}, ${name}: ${messageOf(error)}; the server wrote:\n${server.said()}`, {
          cause: error,
        });
      }
      if (it.fresh) await server.stop();
    }
  }
  return results;
}

async function compare(options: Options): Promise<void> {
  const pin = await canPin();
  if (!pin) {
    note("server and generator share the cores, because there is only one core or taskset is missing: expect noise");
  }
  await using certificate = await makeCertificate();
  const figures: Record<string, unknown> = {};
  for (const it of options.cases) {
    const rounds = await runCase(it, options, certificate, pin);
    const goals = it.goals.map((goal) => ({ what: goal.what, ...reached(goal, rounds) }));
    figures[it.name] = { title: it.title, rounds: Object.fromEntries(rounds), goals };
    if (!options.json) print(describe(it, rounds) + "\n");
  }
  if (options.json) print(JSON.stringify({ deno: Deno.version.deno, ...figures }, null, 2));
}

async function main(): Promise<number> {
  const flags = parseArgs(Deno.args, {
    boolean: ["json", "help", "scrape"],
    string: ["seconds", "rounds", "servers", "idle", "warm-up", "seed", "workers"],
    default: { seconds: "", rounds: "", servers: "", idle: "2000", "warm-up": "1", seed: "", workers: "" },
    unknown: (name: string, key?: string) => {
      if (key !== undefined) throw new RangeError(`unknown option ${name}`);
    },
  }) as Record<string, unknown> & { _: unknown[] };
  if (flags.help === true) {
    print(USAGE);
    return 0;
  }
  const names = flags._.filter((name) => name !== "--");
  if (names[0] === "start") {
    const starts = await measureStarts(whole("rounds", flags.rounds || 3), note);
    print(flags.json === true ? JSON.stringify(Object.fromEntries(starts), null, 2) : describeStarts(starts));
    return 0;
  }
  if (names[0] === "attack") {
    const servers = flags.servers === "" ? ["wss", "ws"] : String(flags.servers).split(",");
    await attackCommand({
      names: names.slice(1).map(String),
      servers: await present(servers),
      json: flags.json === true,
      print,
      note,
    });
    return 0;
  }
  if (names[0] === "soak") {
    return await soakCommand({
      seconds: positive("seconds", flags.seconds || 60),
      seed: flags.seed === "" ? undefined : whole("seed", flags.seed),
      workers: flags.workers === "" ? undefined : whole("workers", flags.workers),
      json: flags.json === true,
      print,
      note,
    });
  }
  if (names[0] === "broker") {
    const seconds = positive("seconds", flags.seconds || 5);
    return await brokerCommand({
      seconds,
      warmUp: positive("warm-up", flags["warm-up"]),
      json: flags.json === true,
      print,
    });
  }
  if (names[0] === "workers") {
    return await workersCommand({
      seconds: positive("seconds", flags.seconds || 3),
      warmUp: positive("warm-up", flags["warm-up"]),
      rounds: whole("rounds", flags.rounds || 3),
      json: flags.json === true,
      generate: (job) => generate(job, false),
      print,
    });
  }
  if (names[0] === "metrics") {
    const cases = names.length > 1 ? names.slice(1) : METRICS_CASES;
    const servers = flags.servers || METRICS_SERVERS.join();
    await compare(await readOptions({ ...flags, servers, rounds: flags.rounds || METRICS_ROUNDS }, cases));
    await using certificate = await makeCertificate();
    const counting = countingCost();
    const { connections, ms } = await scrapeCost(certificate, await canPin());
    note(`counting alone: ${counting.toFixed(1)} ns per message`);
    note(`one scrape with ${connections} connections: ${ms.toFixed(2)} ms of CPU`);
    return 0;
  }
  const options = await readOptions(flags, names);
  await compare(options);
  if (names.length === 0 && !options.json) print(describeStarts(await measureStarts(options.rounds, note)));
  return 0;
}

try {
  Deno.exit(await main());
} catch (error) {
  if (!(error instanceof RangeError)) throw error;
  note(`${messageOf(error)}\n\n${USAGE}`);
  Deno.exit(2);
}
