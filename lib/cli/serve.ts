/**
 * `serve`: runs the service until a signal ends it.
 * @module
 */
import { type LoadedSettings, loadWithFile, readVariables } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";
import { messageOf, UsageError } from "../errors.ts";
import { createLogger, type Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import { type CheckedSettings, validate } from "../service/validate_settings.ts";
import { banner, bannerFields } from "./banner.ts";
import type { Command, Invocation } from "./command_type.ts";
import { handOver, takeover } from "./process_handover.ts";
import { write } from "./output.ts";
import { runUntilStopped } from "./run_until_stopped.ts";
import { connectSupervisor, serveAsWorker, validateWorkers } from "./serve_workers.ts";
import { surviveUncaughtErrors } from "./uncaught_errors.ts";

/** Options of the service, and those for where to read them from. */
export const SERVE_OPTIONS = {
  ...SERVICE_OPTIONS,
  config: {
    type: "path",
    topic: "Configuration and processes",
    value: "FILE",
    flagOnly: true,
    unset: "wss.json, where there is one",
    help: "The configuration file: a JSON object of options in camelCase. WSS_CONFIG names it too.",
  },
  workers: {
    type: "text",
    topic: "Configuration and processes",
    value: "N|auto",
    unset: "one process, which serves by itself",
    help: "Run N worker processes on one port (auto: one a core) under a supervisor that restarts them. Linux only.",
  },
  workerTimeout: {
    type: "duration",
    topic: "Configuration and processes",
    value: "TIME",
    default: "30s",
    min: 1000,
    help:
      "A worker whose event loop is blocked for this long is replaced. After a tenth of it, new clients go to other workers.",
  },
  check: {
    type: "switch",
    topic: "Configuration and processes",
    default: false,
    flagOnly: true,
    help:
      "Check the configuration, the certificate, the tokens and the app, and exit: with 0 if the service would start.",
  },
} as const satisfies OptionTable;

/** The command. */
export const serveCommand: Command = {
  name: "serve",
  usage: "",
  summary: "runs the service",
  details: "With nothing configured it makes a development certificate in certs/ and serves wss://localhost:8282/. " +
    "SIGTERM and SIGINT stop it: connections get --drain-timeout to finish; a second signal ends it at once. " +
    "SIGHUP reads certificate and token files again, as their change does. SIGUSR2 hands the port over to a new process " +
    "of the same command line, and this one drains; with --workers the workers are replaced, and the PID stays.",
  examples: [
    ["wss", "try it: wss://localhost:8282/, and https://localhost:8282/ in a browser"],
    [
      "wss --domain example.com --acme-agree-tos",
      "direct: a certificate from Let's Encrypt, renewed by itself; port 443",
    ],
    ["wss --cert fullchain.pem --key privkey.pem --port 443", "direct: your certificate, your domain"],
    ["wss --mode proxied", "plain ws on 127.0.0.1:8282, behind nginx or Apache"],
    ["wss --app ./my_app.ts", "an app of yours"],
  ],
  options: SERVE_OPTIONS,
  run,
};

/** The service's settings from flags, variables and file. */
export function loadSettings(line: Invocation): LoadedSettings<typeof SERVE_OPTIONS, CheckedSettings> {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`serve takes no arguments, and was given ${line.positionals.join(" ")}`);
  }
  return loadWithFile(
    SERVE_OPTIONS,
    { flags: line.flags, variables: readVariables() },
    problems,
    (settings, given, wrong) => {
      const workerProblems = validateWorkers(settings, given);
      let checked: CheckedSettings;
      try {
        checked = validate(settings, given, wrong);
      } catch (error) {
        if (!(error instanceof UsageError)) throw error;
        throw new UsageError([...error.problems, ...workerProblems]);
      }
      if (workerProblems.length > 0) throw new UsageError(workerProblems);
      return checked;
    },
  );
}

async function run(line: Invocation): Promise<number> {
  const loaded = loadSettings(line);
  const { settings, notes } = loaded;
  const format = settings.logFormat ?? (Deno.stdout.isTerminal() ? "text" : "json");
  const worker = await connectSupervisor();
  const log = createLogger({
    format,
    level: settings.logLevel,
    ...(worker ? { fields: { worker: worker.index } } : {}),
  });
  using _survivor = surviveUncaughtErrors(log);
  // With workers, the supervisor logs it once for all.
  if (worker === undefined) { for (const note of notes) log.info(note); }
  if (settings.workers !== undefined && worker === undefined && !settings.check) {
    const { supervise } = await import("./supervise.ts");
    return await supervise(settings, format, log);
  }
  // A supervisor does not serve, so it does not load any of this.
  const [{ loadApp }, { startService }] = await Promise.all([
    import("../apps/load_app.ts"),
    import("../service/serve.ts"),
  ]);
  const app = await loadApp(settings.app, (message) => log.warn(message));
  if (settings.check) {
    const { checkConfiguration } = await import("./check_configuration.ts");
    return await checkConfiguration(loaded, log);
  }
  const predecessor = takeover();
  const service = await startService(app, loaded, { log, takeover: predecessor, worker });
  // Handle signals before reporting that the service is ready for them.
  const leaving = new AbortController();
  if (worker !== undefined) {
    if (worker.index === 1) verifyInBackground(service, log, worker.stopped);
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
    leaving,
  );
  await predecessor?.reportListening().catch((error) => {
    log.warn(`the process that handed over has gone (${messageOf(error)}): this one serves all the same`);
  });
  if (format === "text") write("stdout", banner(service));
  else log.info("listening", bannerFields(service));
  verifyInBackground(service, log, leaving.signal);
  return await stopped;
}

/** Verifies the certificate while the service runs. It is loaded only then, to listen sooner. */
async function verifyInBackground(service: RunningService, log: Logger, signal: AbortSignal): Promise<void> {
  const { verifyOwnCertificate } = await import("./verify_own_certificate.ts");
  await verifyOwnCertificate(service, log, signal);
}
