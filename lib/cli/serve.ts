/**
 * `serve`: runs the service until a signal ends it.
 * @module
 */
import { loadApp } from "../apps/load.ts";
import { load, readConfigFile, readVariables } from "../config/load.ts";
import type { OptionTable } from "../config/option.ts";
import { SERVICE_OPTIONS, type Settings } from "../config/options.ts";
import { createLogger, type Logger } from "../log.ts";
import { type Service, startService, validate } from "../service.ts";
import { banner, bannerFields } from "./banner.ts";
import type { Command, Invocation } from "./command.ts";
import { print } from "./output.ts";

/** Options of the service, and where they are read from. */
export const SERVE_OPTIONS = {
  ...SERVICE_OPTIONS,
  config: {
    type: "path",
    value: "FILE",
    flagOnly: true,
    unset: "wss.json, where there is one",
    help: "The configuration file: one JSON object of options in camelCase.",
  },
} as const satisfies OptionTable;

/** The command. */
export const serveCommand: Command = {
  name: "serve",
  usage: "",
  summary: "runs the service",
  details: "With nothing configured it makes a development certificate in certs/ and serves wss://localhost:8282/. " +
    "SIGTERM and SIGINT stop it: connections get --drain-timeout to finish; a second signal ends it at once.",
  examples: [
    ["wss", "try it: wss://localhost:8282/, and https://localhost:8282/ in a browser"],
    ["wss --cert fullchain.pem --key privkey.pem --port 443", "direct: your certificate, your domain"],
    ["wss --mode proxied", "plain ws on 127.0.0.1:8282, behind nginx or Apache"],
    ["wss --app ./my_app.ts", "an app of yours"],
  ],
  options: SERVE_OPTIONS,
  run,
};

/** The service's settings from flags, variables and file. */
export function loadSettings(line: Invocation): { settings: Settings; given: ReadonlyMap<string, string> } {
  const problems = [...line.problems];
  if (line.positionals.length > 0) {
    problems.push(`serve takes no arguments, and was given ${line.positionals.join(" ")}`);
  }
  const variables = readVariables();
  const object = readConfigFile(line.flags.get("config")?.[0] ?? variables.WSS_CONFIG);
  return load(SERVE_OPTIONS, { flags: line.flags, variables, ...(object ? { object } : {}) }, problems, validate);
}

async function run(line: Invocation): Promise<number> {
  const { settings, given } = loadSettings(line);
  const format = settings.logFormat ?? (Deno.stdout.isTerminal() ? "text" : "json");
  const log = createLogger({ format, level: settings.logLevel });
  const app = await loadApp(settings.app);
  const service = await startService(app, settings, given, { log });
  if (format === "text") print(banner(service));
  else log.info("listening", bannerFields(service));
  return await untilStopped(service, log);
}

/** Waits for a signal, then stops. */
async function untilStopped(service: Service, log: Logger): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  let stopping = false;
  const onSignal = (signal: Deno.Signal, number: number) => () => {
    if (stopping) Deno.exit(128 + number);
    stopping = true;
    log.info(`${signal}: stopping; a second signal ends at once`, { peers: service.peers.size });
    service.stop().then(() => resolve(0));
  };
  // Windows knows no SIGTERM.
  const handlers: [Deno.Signal, () => void][] = [["SIGINT", onSignal("SIGINT", 2)]];
  if (Deno.build.os !== "windows") handlers.push(["SIGTERM", onSignal("SIGTERM", 15)]);
  for (const [signal, handler] of handlers) Deno.addSignalListener(signal, handler);
  try {
    return await promise;
  } finally {
    for (const [signal, handler] of handlers) Deno.removeSignalListener(signal, handler);
    log.info("stopped");
  }
}
