/**
 * `serve --workers`: the supervisor, and what a worker does besides serving.
 * @module
 */
import { Supervisor, WorkerFailure } from "../workers/supervisor.ts";
import { readWorkerNote, SupervisorLink } from "../workers/supervisor_link.ts";
import { readWorker } from "../config/load_settings.ts";
import { StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { loadFfi } from "../net/ffi/load_ffi.ts";
import type { RunningService } from "../service/running_service.ts";
import { banner, bannerFields } from "./banner.ts";
import { commandLine } from "./process_handover.ts";
import { write } from "./output.ts";
import { runUntilStopped } from "./run_until_stopped.ts";

/** The settings that decide about workers. */
export interface WorkerSettings {
  readonly workers?: string | undefined;
  readonly workerTimeout: number;
  readonly drainTimeout: number;
  readonly unix?: string | undefined;
  readonly broker?: string | undefined;
  readonly domain: readonly string[];
}

/** How long a worker may take until it listens, ms; and where it may have to obtain a certificate before that. */
const START_TIMEOUT = 30_000;
const ACME_START_TIMEOUT = 240_000;

/** Most workers: more processes than any machine has cores. */
const MOST_WORKERS = 1024;

/** Checks `--workers`; one sentence a mistake, for a UsageError. */
export function validateWorkers(settings: WorkerSettings, given: ReadonlyMap<string, string>): string[] {
  const { workers, unix } = settings;
  if (workers === undefined) return [];
  const count = Number(workers);
  if (workers !== "auto" && !(/^\d+$/.test(workers) && count >= 1 && count <= MOST_WORKERS)) {
    return [`${given.get("workers")}: a number from 1 to ${MOST_WORKERS} or auto is required, not "${workers}"`];
  }
  if (unix !== undefined) {
    return [
      `${given.get("workers")} and ${given.get("unix")}: several processes cannot share a unix socket; listen on ` +
      "127.0.0.1, or start several services with a socket each and name them all to `wss proxy`",
    ];
  }
  return [];
}

/** Supervises workers until a signal ends it; returns the exit code. */
export async function supervise(settings: WorkerSettings, format: "text" | "json", log: Logger): Promise<number> {
  if (Deno.build.os !== "linux") {
    throw new StartError("Cannot run workers: only Linux spreads connections over processes; leave --workers out");
  }
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) {
    throw new StartError(
      `Cannot run workers: the C library is required (${reason}); leave --workers out, or run with -A`,
    );
  }
  const { workers, workerTimeout, drainTimeout } = settings;
  const count = workers === "auto" ? navigator.hardwareConcurrency : Number(workers);
  let supervisor: Supervisor;
  try {
    supervisor = await Supervisor.start({
      count,
      command: commandLine,
      relay: count > 1 && settings.broker === undefined,
      workerTimeout,
      startTimeout: settings.domain.length > 0 ? ACME_START_TIMEOUT : START_TIMEOUT,
      drainTimeout,
      log,
    });
  } catch (error) {
    // It has said why on the same standard error.
    if (error instanceof WorkerFailure && error.status.code > 0) return error.status.code;
    throw error instanceof WorkerFailure ? new StartError(`Cannot start a worker: ${error.message}`) : error;
  }
  const leaving = new AbortController();
  const stopped = runUntilStopped(
    {
      stop: () => supervisor.stop(),
      reload: () => supervisor.reload(),
      async replace() {
        await supervisor.replace();
        log.info("the workers have been replaced; the old ones end with their connections");
        return undefined;
      },
      kill: () => supervisor.kill(),
    },
    log,
    leaving,
  );
  const { banner, fields } = supervisor.listening;
  if (format === "text") write("stdout", banner);
  else log.info("listening", fields);
  return await stopped;
}

/** The supervisor of this process, where it is a worker. */
export async function connectSupervisor(): Promise<SupervisorLink | undefined> {
  const text = readWorker();
  return text === undefined ? undefined : await SupervisorLink.connect(readWorkerNote(text));
}

/** Serves as a worker until the supervisor says stop, or has gone; returns the exit code. */
export async function serveAsWorker(
  service: RunningService,
  link: SupervisorLink,
  settings: WorkerSettings,
  log: Logger,
): Promise<number> {
  const { stopped } = link;
  const asked = new Promise<void>((resolve) => stopped.addEventListener("abort", () => resolve(), { once: true }));
  // The supervisor decides what Ctrl-C and a terminal that goes away mean; SIGTERM ends this worker in an orderly way.
  const terminated = Promise.withResolvers<void>();
  const ignore = () => {};
  const handlers: [Deno.Signal, () => void][] = [
    ["SIGINT", ignore],
    ["SIGHUP", ignore],
    ["SIGUSR2", ignore],
    ["SIGTERM", terminated.resolve],
  ];
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    const port = "port" in service.addr ? service.addr.port : 0;
    const introduction = { port, banner: banner(service, link.count), fields: bannerFields(service, link.count) };
    link.listening(service, introduction, settings.workerTimeout);
    await Promise.race([asked, terminated.promise]);
    if (stopped.reason === "orphaned") log.error("the supervisor has gone: stopping", { peers: service.peers.size });
    // Others serve the port, unless the service stops.
    await (stopped.reason === "stop" || stopped.reason === "orphaned" ? service.stop() : service.retire());
    return stopped.reason === "orphaned" ? 1 : 0;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    link.close();
  }
}
