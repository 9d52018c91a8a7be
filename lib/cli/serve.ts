/**
 * `serve`: runs the service until a signal ends it.
 * @module
 */
import { type LoadedSettings, loadWithFile, readVariables } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { PROCESS_OPTIONS } from "../config/process_options.ts";
import { SERVICE_OPTIONS, type Settings } from "../config/service_options.ts";
import { messageOf, UsageError } from "../errors.ts";
import { createLogger, type Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import type { SupervisorLink } from "../workers/supervisor_link.ts";
import { type CheckedSettings, validateSettings } from "../service/validate_settings.ts";
import { createBannerFields, formatBanner, reportListening } from "./banner.ts";
import type { Command, Invocation } from "./command_type.ts";
import { handOver, readTakeover } from "./process_handover.ts";
import { runUntilStopped } from "./run_until_stopped.ts";
import { connectSupervisor, serveAsWorker, validateWorkers, type WorkerSettings } from "./serve_as_worker.ts";
import { handleUncaughtErrors } from "./uncaught_errors.ts";

/** The options of the service and of the command. */
export const SERVE_OPTIONS = {
  ...SERVICE_OPTIONS,
  config: {
    type: "path",
    topic: "Configuration and processes",
    value: "FILE",
    flagOnly: true,
    unset: "wss.json, if it exists",
    help: "The configuration file: a JSON object of options in camelCase. WSS_CONFIG sets it, too.",
  },
  ...PROCESS_OPTIONS,
  check: {
    type: "switch",
    topic: "Configuration and processes",
    default: false,
    flagOnly: true,
    help:
      "Check the configuration, the certificate, the tokens, the app, the folders of unix sockets and the broker, then exit; the exit code is 0 if they are sound. --port and the port of --admin are not tested, because a running service may use them.",
  },
} as const satisfies OptionTable;

/** The command. */
export const serveCommand: Command = {
  name: "serve",
  usage: "",
  summary: "runs the service",
  details:
    "Without options it creates a development certificate in certs/ and serves wss://localhost:8282/. SIGTERM and SIGINT " +
    "stop it: connections get --drain-timeout to finish; a second signal ends it at once. SIGHUP reloads certificate and " +
    "token files, which are also reloaded when they change. SIGUSR2 starts a new process with the same command line, which " +
    "takes over the port, and this process drains its connections; with --workers the workers are replaced, and the PID " +
    "stays the same.",
  examples: [
    ["wss", "try it: wss://localhost:8282/, and https://localhost:8282/ in a browser"],
    [
      "wss --domain example.com --acme-agree-tos",
      "direct: a certificate from Let's Encrypt, renewed automatically; port 443",
    ],
    ["wss --cert fullchain.pem --key privkey.pem --port 443", "direct: your certificate, your domain"],
    ["wss --mode proxied", "plain ws on 127.0.0.1:8282, behind nginx or Apache"],
    ["wss --app ./my_app.ts", "your own app"],
  ],
  options: SERVE_OPTIONS,
  run,
};

/** Loads the service's settings from flags, variables and the configuration file. */
export function loadServeSettings(line: Invocation): LoadedSettings<typeof SERVE_OPTIONS, CheckedSettings> {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`serve takes no arguments, but got ${line.positionals.join(" ")}`);
  }
  return loadWithFile(
    SERVE_OPTIONS,
    { flags: line.flags, variables: readVariables(SERVE_OPTIONS) },
    problems,
    validateServeSettings,
  );
}

/**
 * Checks how the settings of the service and of its processes can be combined.
 * @param wrong the names of settings that could not be read and have their defaults
 * @throws {UsageError} with every mistake
 */
export function validateServeSettings(
  settings: Settings & WorkerSettings,
  given: ReadonlyMap<string, string>,
  wrong: ReadonlySet<string>,
): CheckedSettings {
  const workerProblems = validateWorkers(settings, given);
  let checked: CheckedSettings;
  try {
    checked = validateSettings(settings, given, wrong);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError([...error.problems, ...workerProblems]);
  }
  if (workerProblems.length > 0) throw new UsageError(workerProblems);
  return checked;
}

async function run(line: Invocation): Promise<number> {
  const loaded = loadServeSettings(line);
  const { settings, notes } = loaded;
  const format = settings.logFormat ?? (Deno.stderr.isTerminal() ? "text" : "json");
  const worker = await connectSupervisor();
  const log = createLogger({
    format,
    level: settings.logLevel,
    ...(worker ? { fields: { worker: worker.index } } : {}),
  });
  using _handler = handleUncaughtErrors(log);
  // With workers, only the supervisor logs the notes.
  if (worker === undefined) { for (const note of notes) log.info(note); }
  if (settings.workers !== undefined && worker === undefined && !settings.check) {
    const { supervise } = await import("./run_supervisor.ts");
    return await supervise(settings, log);
  }
  const ended = runService(loaded, log, worker);
  // A worker ends even if its app never finishes loading.
  return await (worker === undefined ? ended : Promise.race([ended, worker.abandoned]));
}

/** Runs the service in this process, or checks its configuration. Returns the exit code. */
async function runService(
  loaded: LoadedSettings<typeof SERVE_OPTIONS, CheckedSettings>,
  log: Logger,
  worker: SupervisorLink | undefined,
): Promise<number> {
  const { settings } = loaded;
  // A supervisor does not need these modules.
  const [{ loadApp }, { startService }] = await Promise.all([
    import("../apps/load_app.ts"),
    import("../service/serve.ts"),
  ]);
  const app = await loadApp(settings.app, (message) => log.warn(message));
  if (settings.check) {
    const { checkConfiguration } = await import("./check_configuration.ts");
    return await checkConfiguration(loaded, log);
  }
  const predecessor = readTakeover();
  const service = await startService(app, loaded, { log, takeover: predecessor, worker });
  // Handle signals before reporting that the service is ready.
  const stopping = new AbortController();
  if (worker !== undefined) {
    if (worker.index === 1) void verifyInBackground(service, log, worker.stopped);
    return await serveAsWorker(service, worker, settings, log);
  }
  const stopped = runUntilStopped(
    {
      stop: () => service.stop(),
      reload: () => service.reload(),
      async replace(signal) {
        let pid: number | undefined;
        await service.handOver(async () => {
          ({ pid } = await handOver(service, signal));
        });
        return pid;
      },
      get peers() {
        return service.peers.size;
      },
    },
    log,
    stopping,
  );
  await predecessor?.reportListening().catch((error) => {
    log.warn(`the previous process has exited (${messageOf(error)}); this process serves anyway`);
  });
  reportListening(settings, log, { banner: formatBanner(service), fields: createBannerFields(service) });
  void verifyInBackground(service, log, stopping.signal);
  return await stopped;
}

/** Verifies the certificate while the service runs. The module is loaded only then, to listen sooner. Never throws. */
async function verifyInBackground(service: RunningService, log: Logger, signal: AbortSignal): Promise<void> {
  try {
    const { verifyOwnCertificate } = await import("./verify_own_certificate.ts");
    await verifyOwnCertificate(service, log, signal);
  } catch (error) {
    log.debug("the self-check failed", { error: messageOf(error) });
  }
}
