/**
 * `serve --workers`: its options, and the tasks of a worker in addition to serving.
 * @module
 */
import type { SupervisorLink } from "../workers/supervisor_link.ts";
import { readWorkerVariable } from "../config/load_settings.ts";
import type { Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { banner, bannerFields } from "./banner.ts";

/** The settings about workers. */
export interface WorkerSettings {
  readonly workers?: string | undefined;
  readonly workerTimeout: number;
  readonly drainTimeout: number;
  readonly unix?: string | undefined;
  readonly broker?: string | undefined;
  readonly domain: readonly string[];
}

/** The largest number of workers. */
const MOST_WORKERS = 1024;

/** Checks `--workers`. Returns one sentence for each mistake, for a UsageError. */
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

/** The supervisor of this process, if it is a worker. */
export async function connectSupervisor(): Promise<SupervisorLink | undefined> {
  const text = readWorkerVariable();
  if (text === undefined) return undefined;
  const { readWorkerNote, SupervisorLink } = await import("../workers/supervisor_link.ts");
  return await SupervisorLink.connect(readWorkerNote(text));
}

/** Serves as a worker until the supervisor asks it to stop or has ended; returns the exit code. */
export async function serveAsWorker(
  service: RunningService,
  link: SupervisorLink,
  settings: WorkerSettings,
  log: Logger,
): Promise<number> {
  const { stopped } = link;
  const asked = new Promise<void>((resolve) => stopped.addEventListener("abort", () => resolve(), { once: true }));
  // The supervisor handles Ctrl-C and a closed terminal; SIGTERM stops this worker in an orderly way.
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
