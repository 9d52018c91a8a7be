/**
 * `serve --workers`: validates its options, and runs a worker process.
 * @module
 */
import type { SupervisorLink } from "../workers/supervisor_link.ts";
import { readWorkerVariable } from "../config/load_settings.ts";
import type { Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { createBannerFields, formatBanner } from "./banner.ts";

/** The settings of workers. */
export interface WorkerSettings {
  readonly workers?: string | undefined;
  readonly workerTimeout: number;
  readonly drainTimeout: number;
  readonly unix?: string | undefined;
  readonly broker?: string | undefined;
  readonly domain: readonly string[];
}

/** The largest number of workers. */
const MAX_WORKERS = 1024;

/** Validates `--workers`. Returns one sentence for each error, for a UsageError. */
export function validateWorkers(settings: WorkerSettings, given: ReadonlyMap<string, string>): string[] {
  const { workers, unix } = settings;
  if (workers === undefined) return [];
  const count = Number(workers);
  if (workers !== "auto" && !(/^\d+$/.test(workers) && count >= 1 && count <= MAX_WORKERS)) {
    return [`${given.get("workers")}: must be auto or a number from 1 to ${MAX_WORKERS}, not "${workers}"`];
  }
  if (unix !== undefined) {
    return [
      `${given.get("workers")} cannot be combined with ${given.get("unix")}: several processes cannot share a unix ` +
      "socket. Listen on 127.0.0.1, or start several services, each with its own socket, and pass them all to `wss proxy`",
    ];
  }
  return [];
}

/** Connects to the supervisor if this process is a worker. Otherwise returns undefined. */
export async function connectSupervisor(): Promise<SupervisorLink | undefined> {
  const text = readWorkerVariable();
  if (text === undefined) return undefined;
  const { parseWorkerParameters, SupervisorLink } = await import("../workers/supervisor_link.ts");
  return await SupervisorLink.connect(parseWorkerParameters(text));
}

/** Serves until the supervisor requests a stop or exits. Returns the exit code. */
export async function serveAsWorker(
  service: RunningService,
  link: SupervisorLink,
  settings: WorkerSettings,
  log: Logger,
): Promise<number> {
  const { stopped } = link;
  const stopRequested = new Promise<void>((resolve) => {
    // The supervisor may have requested it, or exited, while the service began to listen.
    if (stopped.aborted) resolve();
    else stopped.addEventListener("abort", () => resolve(), { once: true });
  });
  // The supervisor handles Ctrl-C and a closed terminal. SIGTERM stops this worker after its connections have drained.
  const ignore = () => {};
  const handlers: [Deno.Signal, () => void][] = [
    ["SIGINT", ignore],
    ["SIGHUP", ignore],
    ["SIGUSR2", ignore],
    ["SIGTERM", () => link.requestStop()],
  ];
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    const port = "port" in service.addr ? service.addr.port : 0;
    const description = {
      port,
      banner: formatBanner(service, link.count),
      fields: createBannerFields(service, link.count),
    };
    link.listening(service, description, settings.workerTimeout);
    await stopRequested;
    if (stopped.reason === "orphaned") log.error("the supervisor has exited: stopping", { peers: service.peers.size });
    // Unless the whole service stops, other workers keep serving the port.
    await (stopped.reason === "followed" ? service.retire() : service.stop());
    return stopped.reason === "orphaned" ? 1 : 0;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    link.close();
  }
}
