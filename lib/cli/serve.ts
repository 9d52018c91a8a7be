/**
 * `serve`: runs the service until a signal ends it.
 * @module
 */
import { loadApp } from "../apps/load_app.ts";
import { type LoadedSettings, loadWithFile, readVariables } from "../config/load_settings.ts";
import type { OptionTable } from "../config/option_table.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";
import { messageOf } from "../errors.ts";
import { createLogger, type Logger } from "../log.ts";
import type { Service } from "../service/running_service.ts";
import { startService } from "../service/serve.ts";
import { validate } from "../service/resolve_settings.ts";
import { banner, bannerFields } from "./banner.ts";
import type { Command, Invocation } from "./command_type.ts";
import { handOver, takeover } from "./handover.ts";
import { write } from "./output.ts";
import { selfCheck } from "./startup_check.ts";

/** Options of the service, and where they are read from. */
export const SERVE_OPTIONS = {
  ...SERVICE_OPTIONS,
  config: {
    type: "path",
    value: "FILE",
    flagOnly: true,
    unset: "wss.json, where there is one",
    help: "The configuration file: one JSON object of options in camelCase. WSS_CONFIG names it too.",
  },
  check: {
    type: "switch",
    default: false,
    flagOnly: true,
    help: "Check configuration, certificate, tokens and app, say what is wrong, and exit: 0 where it would start.",
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
    "of the same command line, and this one drains.",
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
export function loadSettings(line: Invocation): LoadedSettings<typeof SERVE_OPTIONS> {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`serve takes no arguments, and was given ${line.positionals.join(" ")}`);
  }
  return loadWithFile(SERVE_OPTIONS, { flags: line.flags, variables: readVariables() }, problems, validate);
}

async function run(line: Invocation): Promise<number> {
  const { settings, given, notes } = loadSettings(line);
  const format = settings.logFormat ?? (Deno.stdout.isTerminal() ? "text" : "json");
  const log = createLogger({ format, level: settings.logLevel });
  for (const note of notes) log.info(note);
  const app = await loadApp(settings.app);
  if (settings.check) {
    const { checkOnly } = await import("./check_only.ts");
    return await checkOnly(settings, given, log);
  }
  const predecessor = takeover();
  const service = await startService(app, settings, given, { log, takeover: predecessor });
  // Signals are heeded before anybody is told that they may be sent.
  const leaving = new AbortController();
  const stopped = untilStopped(service, log, leaving);
  await predecessor?.reportListening().catch((error) => {
    log.warn(`the process that handed over has gone (${messageOf(error)}): this one serves all the same`);
  });
  if (format === "text") write("stdout", banner(service));
  else log.info("listening", bannerFields(service));
  // In the background: the service serves meanwhile.
  selfCheck(service, log, leaving.signal);
  return await stopped;
}

/** Serves until a signal ends it. `leaving` is aborted when it begins to stop. */
async function untilStopped(service: Service, log: Logger, leaving: AbortController): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let stopping = false;
  let handingOver = false;

  function stop(why: string): void {
    stopping = true;
    leaving.abort();
    log.info(`${why}: stopping; a second signal ends at once`, { peers: service.peers.size });
    service.stop().then(() => resolve(0), reject);
  }
  function end(signal: "SIGINT" | "SIGTERM"): void {
    if (stopping) Deno.exit(128 + (signal === "SIGINT" ? 2 : 15));
    stop(signal);
  }
  async function reload(): Promise<void> {
    log.info("SIGHUP: reloading");
    await service.reload().catch((error) => {
      log.error(`nothing was reloaded, what was there goes on serving: ${messageOf(error)}`);
    });
  }
  async function replace(): Promise<void> {
    // Two successors would both take the port.
    if (stopping || handingOver) return log.info("SIGUSR2: the service is being handed over or stopped already");
    handingOver = true;
    log.info("SIGUSR2: handing over to a new process");
    try {
      let pid = 0;
      await service.handOver(async () => {
        ({ pid } = await handOver(service, leaving.signal));
      });
      if (!stopping) stop(`process ${pid} has taken over`);
    } catch (error) {
      log.error(messageOf(error));
    } finally {
      handingOver = false;
    }
  }

  const handlers: [Deno.Signal, () => void][] = [["SIGINT", () => end("SIGINT")]];
  if (Deno.build.os !== "windows") {
    handlers.push(["SIGTERM", () => end("SIGTERM")], ["SIGHUP", reload], ["SIGUSR2", replace]);
  }
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    return await promise;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    log.info("stopped");
  }
}
