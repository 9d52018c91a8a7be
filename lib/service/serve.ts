/**
 * Serves an app: turns options into a running service.
 * @module
 */
import { wantsTokens } from "../auth/validate_auth_options.ts";
import { checkApp } from "../apps/validate_app.ts";
import { loadSettings } from "../config/load_settings.ts";
import type { ServiceOptions } from "../config/service_options_type.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";
import { warnAboutOrigins } from "../handshake/origin.ts";
import { createLogger, type Logger, silent } from "../log.ts";
import { createCertificateSource } from "./create_certificate_source.ts";
import { RunningService } from "./running_service.ts";
import type { Service } from "./service_type.ts";
import { type ServiceSettings, validateSettings } from "./validate_settings.ts";
import type { WorkerContext } from "./worker_context.ts";
import type { AppFactory, FetchApp, ServiceApp } from "../ws/app_types.ts";

/** Additional arguments of `serve`. */
export interface Environment {
  /** Default: warnings and errors on standard error; `silent` logs nothing. */
  readonly log?: Logger;
  /** The ports of a predecessor process that shares its addresses with this one. 0 means a unix socket or no port. */
  readonly takeover?: { readonly port: number; readonly adminPort: number } | undefined;
}

/** The environment of one of several workers. */
export interface WorkerEnvironment extends Environment {
  readonly worker?: WorkerContext | undefined;
}

/**
 * Serves an app. The options are those of the command line in camelCase. Sizes are numbers of bytes or text (`"1MiB"`),
 * durations are milliseconds or text (`"10s"`). It installs no signal handlers, and reads neither environment variables nor
 * a configuration file.
 *
 * It installs no global error handlers either. If a hook throws, or the promise that it returns rejects, its peer is closed
 * and the error is logged. Any other uncaught error (in a promise that the app does not await, or in a timer) ends the
 * process, as in any Deno program. To survive such errors, listen for `unhandledrejection` and `error` on `globalThis`, call
 * `preventDefault()` and log the error, as the command line does.
 *
 * @example
 * ```ts
 * import { defineApp, serve } from "@wss/wss";
 *
 * const app = defineApp({ message: (peer, message) => void peer.send(message.text()) });
 * await using service = await serve(app, { port: 0 });
 * console.log(service.url);
 * ```
 *
 * @throws {UsageError} with every mistake in the options
 * @throws {StartError} if the port is taken, the certificate is not usable, or a file cannot be read
 */
export async function serve(
  app: ServiceApp | AppFactory | FetchApp,
  options: ServiceOptions = {},
  environment: Environment = {},
): Promise<Service> {
  const loaded = loadSettings(SERVICE_OPTIONS, { object: { values: options } }, [], validateSettings);
  const { log = createLogger({ level: "warn" }), ...others } = environment;
  const checked = checkApp(app, "app", (message) => log.warn(message));
  return await startService(checked, loaded, { log, ...others });
}

/** Serves an app with settings that are already loaded and checked, for the command line. */
export async function startService(
  app: ServiceApp | AppFactory,
  loaded: ServiceSettings,
  { log = silent, takeover, worker }: WorkerEnvironment = {},
): Promise<RunningService> {
  const { settings, checked } = loaded;
  if ((worker?.index ?? 1) === 1) { for (const warning of warnAboutOrigins(settings.origin)) log.warn(warning); }
  // jose and node:crypto are loaded only if the service checks tokens.
  const authenticator = wantsTokens(settings)
    ? await (await import("../auth/authenticate.ts")).createAuthenticator(settings, { log })
    : undefined;
  const certificate = await createCertificateSource(checked.mode, log);
  const service = new RunningService({ app, loaded, authenticator, certificate, log, worker });
  await service.start(takeover);
  return service;
}
