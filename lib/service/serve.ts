/**
 * Serving an app: from options to a running service.
 * @module
 */
import { wantsTokens } from "../auth/validate_auth_options.ts";
import { checkApp } from "../apps/validate_app.ts";
import { load } from "../config/load_settings.ts";
import type { ServiceOptions } from "../config/serve_options_type.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";
import { originWarnings } from "../handshake/origin.ts";
import { createLogger, type Logger, silent } from "../log.ts";
import { createCertificateSource } from "./create_certificate_source.ts";
import { RunningService, type Service } from "./running_service.ts";
import { type ServiceSettings, validate } from "./validate_settings.ts";
import type { WorkerContext } from "./worker_context.ts";
import type { AppFactory, FetchApp, ServiceApp } from "../ws/app_types.ts";

/** What the caller may give beside the options. */
export interface Environment {
  /** Default: warnings and errors on standard error; `silent` says nothing. */
  readonly log?: Logger;
  /** A predecessor process shares its address with this one, at this port. */
  readonly takeover?: { readonly port: number } | undefined;
}

/** The same for one of several workers. */
export interface WorkerEnvironment extends Environment {
  readonly worker?: WorkerContext | undefined;
}

/**
 * Serves an app. Options as on the command line, in camelCase; sizes and durations in bytes and milliseconds, or as text.
 * It installs no signal handlers and reads neither environment nor file.
 *
 * It installs no global handlers either. What a hook throws, or a promise that it returns rejects with, closes its peer
 * and is logged; an error that nobody catches (a promise that the app let go, a timer of its own) ends the process, as in
 * any Deno program. A host program that is to survive it listens for `unhandledrejection` and `error` on `globalThis`,
 * calls `preventDefault()` and logs, as the command line's service does.
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
 * @throws {StartError} when the port is taken, the certificate unusable, a file unreadable
 */
export async function serve(
  app: ServiceApp | AppFactory | FetchApp,
  options: ServiceOptions = {},
  environment: Environment = {},
): Promise<Service> {
  const loaded = load(SERVICE_OPTIONS, { object: { values: options } }, [], validate);
  const { log = createLogger({ level: "warn" }), ...others } = environment;
  const checked = checkApp(app, "app", (message) => log.warn(message));
  return await startService(checked, loaded, { log, ...others });
}

/** Serves with settings that are loaded and checked already: the command line's way in. */
export async function startService(
  app: ServiceApp | AppFactory,
  loaded: ServiceSettings,
  { log = silent, takeover, worker }: WorkerEnvironment = {},
): Promise<RunningService> {
  const { settings, checked } = loaded;
  if ((worker?.index ?? 1) === 1) { for (const warning of originWarnings(settings.origin)) log.warn(warning); }
  // jose and node:crypto are loaded only for a service that checks tokens.
  const authenticator = wantsTokens(settings)
    ? await (await import("../auth/authenticate.ts")).createAuthenticator(settings, { log })
    : undefined;
  const certificate = await createCertificateSource(checked.mode, log);
  const service = new RunningService({ app, loaded, authenticator, certificate, log, worker });
  await service.start(takeover);
  return service;
}
