/** What happens while a worker starts: it is stopped, its supervisor exits, or it already has connections. Linux only. */
import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { TextLineStream } from "@std/streams/text-line-stream";
import { fileURLToPath } from "node:url";
import { silent } from "../../lib/log.ts";
import type { ConnectionTotals } from "../../lib/service/worker_context.ts";
import { Supervisor } from "../../lib/workers/supervisor.ts";
import { isAlive } from "../support/processes.ts";
import { type Program, ROOT } from "../support/program.ts";
import { childrenOf, startWorkers, WORKER_APP } from "./workers.ts";

const ignore = Deno.build.os !== "linux";

/** Loads normally until a file exists; then its loading never ends. */
const ENDLESS_APP = {
  "worker.ts": `
    const endless = await Deno.stat("endless").then(() => true, () => false);
    if (endless) { console.log("loading", Deno.pid); await new Promise(() => setInterval(() => {}, 1000)); }
    ${WORKER_APP["worker.ts"]}`,
};

/** Makes the program start a worker that never finishes loading. Returns its process ID. */
async function startEndlessly(program: Program): Promise<number> {
  await Deno.writeTextFile(`${program.folder}/endless`, "");
  Deno.kill(childrenOf(program.pid)[0]!, "SIGKILL");
  const [, pid] = await program.stdout.until(/loading (\d+)/);
  return Number(pid);
}

/** What a program of worker_program.ts reports. */
interface Report {
  readonly worker: number;
  readonly paused?: boolean;
  readonly counts?: ConnectionTotals;
}

/** A supervisor of worker_program.ts, and the reports of its workers. */
async function supervise(count: number): Promise<{
  readonly supervisor: Supervisor;
  /** The arguments of the next worker. */
  readonly args: string[];
  /** Programs of the next workers that are used up before the real one. */
  readonly programs: string[];
  /** The reports so far. */
  readonly reports: readonly Report[];
  /** Resolves with the first report that the predicate accepts. */
  until(accepts: (report: Report) => boolean): Promise<Report>;
  [Symbol.asyncDispose](): Promise<void>;
}> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const reports: Report[] = [];
  let arrived = Promise.withResolvers<void>();
  const read = async (connection: Deno.Conn) => {
    const lines = connection.readable.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
    for await (const line of lines) {
      reports.push(JSON.parse(line as string));
      arrived.resolve();
      arrived = Promise.withResolvers();
    }
  };
  const reading: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) reading.push(read(connection).catch(() => {}));
  })();
  const args: string[] = [];
  const programs: string[] = [];
  const program = fileURLToPath(new URL("worker_program.ts", import.meta.url));
  const supervisor = await Supervisor.start({
    count,
    command: () => [
      ...[programs.shift() ?? Deno.execPath(), "run", "-A", "--config", `${ROOT}/deno.json`, program],
      ...[`${listener.addr.port}`, ...args],
    ],
    relay: false,
    workerTimeout: 30_000,
    startTimeout: 60_000,
    drainTimeout: 60_000,
    log: silent,
  });
  return {
    supervisor,
    args,
    programs,
    reports,
    async until(accepts) {
      for (;;) {
        const report = reports.find(accepts);
        if (report !== undefined) return report;
        await arrived.promise;
      }
    },
    async [Symbol.asyncDispose]() {
      await supervisor.stop();
      listener.close();
      await accepting;
      await Promise.all(reading);
    },
  };
}

Deno.test("SIGTERM ends a worker whose app is still loading at once", { ignore }, async () => {
  await using program = await startWorkers(2, ["--drain-timeout", "60s"], { files: ENDLESS_APP });
  const starting = await startEndlessly(program);
  const began = performance.now();
  assertEquals((await program.stop()).code, 0);
  // A worker that does not listen within 30 s is killed.
  assert(performance.now() - began < 20_000);
  assertEquals(isAlive(starting), false);
});

Deno.test("SIGTERM during a replacement is not logged as an error", { ignore }, async () => {
  await using program = await startWorkers(1, ["--drain-timeout", "0s"], { files: ENDLESS_APP });
  await Deno.writeTextFile(`${program.folder}/endless`, "");
  program.signal("SIGUSR2");
  await program.stdout.until(/loading \d+/);
  const { code, stderr } = await program.stop();
  assertEquals(code, 0);
  assertMatch(stderr, /the service is not replaced, because it is stopping/);
  assertNotMatch(stderr, /"level":"error"|Cannot replace/);
});

Deno.test("a worker whose app is still loading exits if the supervisor is killed", { ignore }, async () => {
  await using program = await startWorkers(1, ["--drain-timeout", "0s"], { files: ENDLESS_APP });
  const starting = await startEndlessly(program);
  program.signal("SIGKILL");
  // Without its own exit the worker would run for ever, and hold the output open.
  const timer = setTimeout(() => Deno.kill(starting, "SIGKILL"), 30_000);
  const { stderr } = await program.ended;
  clearTimeout(timer);
  assertEquals(stderr.match(/Cannot serve: the supervisor has exited/g)?.length, 1, stderr);
});

Deno.test("a worker can be stopped after it listens and before it reports that", { ignore }, async () => {
  await using service = await supervise(1);
  service.args.push("pause");
  const replaced = service.supervisor.replace();
  await service.until(({ paused }) => paused === true);
  // With a stop that is missed this would take the drain timeout and 15 s more.
  const began = performance.now();
  await service.supervisor.stop();
  await replaced.catch(() => {});
  assert(performance.now() - began < 45_000);
});

Deno.test(
  "connection counts are kept if they arrive before the worker reports that it listens",
  { ignore },
  async () => {
    await using service = await supervise(2);
    // Each report contains only what has changed since the one before.
    await service.until(({ worker, counts }) => worker === 1 && counts?.total === 4);
    const seen = service.reports.filter(({ worker }) => worker === 1).map(({ counts }) => counts);
    assertEquals(Object.assign({}, ...seen.map((counts) => counts?.addresses)), { "192.0.2.1": 3, "192.0.2.2": 1 });
    assertEquals(Object.assign({}, ...seen.map((counts) => counts?.users)), { anna: 3, ben: 1 });
  },
);

Deno.test("a worker whose program cannot be started for a while is started later", { ignore }, async () => {
  await using service = await supervise(1);
  // The package manager replaces the executable, for example.
  service.programs.push("/missing/deno", "/missing/deno");
  service.args.push("pause");
  service.supervisor.answering()[0]!.signal("SIGKILL");
  await service.until(({ paused }) => paused === true);
});
