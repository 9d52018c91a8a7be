/**
 * `serve --workers`: the supervisor process. Only that process loads this module.
 * @module
 */
import type { AdminListener } from "../admin/admin_listener.ts";
import type { Settings } from "../config/service_options.ts";
import { throttled } from "../log_throttle.ts";
import { Supervisor } from "../workers/supervisor.ts";
import { WorkerFailure } from "../workers/worker_process.ts";
import { messageOf, runEach, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { loadFfi } from "../net/ffi/load_ffi.ts";
import { reportListening } from "./banner.ts";
import { readCommandLine } from "./process_handover.ts";
import { runUntilStopped } from "./run_until_stopped.ts";
import type { WorkerSettings } from "./serve_as_worker.ts";

/** Time limits until a worker listens, ms: the usual one, and the one if it may have to obtain a certificate first. */
const START_TIMEOUT = 30_000;
const ACME_START_TIMEOUT = 240_000;

/** Supervises workers until a signal ends it; returns the exit code. */
export async function supervise(
  settings: WorkerSettings & Settings,
  log: Logger,
): Promise<number> {
  if (Deno.build.os !== "linux") {
    throw new StartError("Cannot run workers: Linux is required; remove --workers");
  }
  const { ffi, reason } = loadFfi();
  if (ffi === undefined) {
    throw new StartError(
      `Cannot run workers: access to the C library is required (${reason}); run with -A, or remove --workers`,
    );
  }
  const { workers, workerTimeout, drainTimeout } = settings;
  const count = workers === "auto" ? navigator.hardwareConcurrency : Number(workers);
  let supervisor: Supervisor;
  try {
    supervisor = await Supervisor.start({
      count,
      command: readCommandLine,
      relay: count > 1 && settings.broker === undefined,
      workerTimeout,
      startTimeout: settings.domain.length > 0 ? ACME_START_TIMEOUT : START_TIMEOUT,
      drainTimeout,
      log,
    });
  } catch (error) {
    // The worker has already reported the reason on the same standard error.
    if (error instanceof WorkerFailure && error.status.code > 0) return error.status.code;
    throw error instanceof WorkerFailure ? new StartError(`Cannot start a worker: ${error.message}`) : error;
  }
  let admin: AdminListener | undefined;
  try {
    admin = await openWorkersAdmin(supervisor, settings, log);
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
  const stopping = new AbortController();
  const stopped = runUntilStopped(
    {
      async stop() {
        await supervisor.stop();
        await admin?.[Symbol.asyncDispose]();
      },
      reload: () => runEach(() => admin?.reloadKeys(), () => supervisor.reload()),
      async replace() {
        await supervisor.replace();
        log.info("the workers have been replaced; the old workers exit when their connections have ended");
        return undefined;
      },
      kill: () => supervisor.kill(),
    },
    log,
    stopping,
  );
  const { banner, fields } = supervisor.listening;
  reportListening(settings, log, {
    banner: admin ? `${banner}admin       ${admin.url}\n` : banner,
    fields: { ...fields, admin: admin?.url },
  });
  return await stopped;
}

/** Opens the admin listener. It belongs to the supervisor, so that it survives the exit of a worker. */
async function openWorkersAdmin(
  supervisor: Supervisor,
  { admin, ...settings }: Settings,
  log: Logger,
): Promise<AdminListener | undefined> {
  if (admin === undefined) return undefined;
  const [{ openAdmin }, { WorkersBackend }] = await Promise.all([
    import("../admin/open_admin_listener.ts"),
    import("../workers/admin_backend.ts"),
  ]);
  const backend = new WorkersBackend(supervisor);
  let tls = settings.adminTls ? await backend.certificate() : undefined;
  const listener = await openAdmin({ ...settings, admin }, { backend, tls, takeover: undefined, log: throttled(log) });
  if (settings.adminTls) {
    supervisor.onReload = async () => {
      try {
        const fresh = await backend.certificate();
        if (fresh === undefined || fresh.cert === tls?.cert) return;
        await listener.replace(fresh);
        tls = fresh;
      } catch (error) {
        log.error(`the admin listener keeps the old certificate: ${messageOf(error)}`);
      }
    };
    // The workers may have reloaded while the listener opened.
    await supervisor.onReload();
  }
  return listener;
}
