/**
 * Opens the admin listener according to the settings.
 * @module
 */
import { parseAdminAddress } from "../config/admin_address.ts";
import type { Settings } from "../config/service_options.ts";
import type { ServiceCalls } from "../hub/service_calls.ts";
import type { Logger } from "../log.ts";
import type { MetricValues } from "../metrics.ts";
import type { TlsText } from "../net/listener/accept_loop.ts";
import { checkSocketAddress } from "../net/listener/accept_loop.ts";
import { type AdminBackend, AdminListener, explainError, type Health } from "./admin_listener.ts";
import { executeCommand } from "./api_methods.ts";

/** The arguments that are not settings. */
export interface OpenAdminOptions {
  readonly backend: AdminBackend;
  /** The service's certificate, for `--admin-tls`. */
  readonly tls: TlsText | undefined;
  /** Set if a predecessor process shares the address. Its port; 0 means a unix socket or no admin listener. */
  readonly takeover: { readonly port: number } | undefined;
  /** Must be throttled. */
  readonly log: Logger;
}

/**
 * Checks the key file and the unix socket of the admin listener, without listening.
 * @throws {StartError} with the text of a failed start
 */
export async function checkAdmin(settings: Settings & { readonly admin: string }, log: Logger): Promise<void> {
  if (settings.adminKeyFile !== undefined) {
    await using _keys = new (await import("./admin_keys.ts")).AdminKeys(settings.adminKeyFile, log);
  }
  const address = parseAdminAddress(settings.admin, parseInt(settings.adminMode, 8));
  try {
    checkSocketAddress(address);
  } catch (error) {
    throw explainError(error, address);
  }
}

/**
 * Opens the admin listener.
 * @throws {StartError} if the address or the key file cannot be used
 */
export async function openAdmin(
  settings: Settings & { readonly admin: string },
  { backend, tls, takeover, log }: OpenAdminOptions,
): Promise<AdminListener> {
  const address = parseAdminAddress(settings.admin, parseInt(settings.adminMode, 8));
  // The configuration may have changed since the predecessor started.
  const joins = takeover !== undefined && (address.transport === "unix" ||
    (takeover.port !== 0 && (address.port === 0 || address.port === takeover.port)));
  const { adminKeyFile: file, maxPayload, handshakeTimeout } = settings;
  // node:crypto is loaded only if there are keys to compare.
  const keys = file === undefined ? undefined : new (await import("./admin_keys.ts")).AdminKeys(file, log);
  try {
    return await AdminListener.open({
      address: joins && address.transport === "tcp" ? { ...address, port: takeover.port } : address,
      tls: settings.adminTls ? tls : undefined,
      keys,
      backend,
      maxPayload,
      handshakeTimeout,
      takeover: joins,
      log,
    });
  } catch (error) {
    await keys?.[Symbol.asyncDispose]();
    throw error;
  }
}

/** A service of this process. */
export interface LocalService extends ServiceCalls {
  readonly settings: Settings;
  readonly material: TlsText | undefined;
  health(): Health;
  metrics(): MetricValues;
}

/**
 * Opens the admin listener of a service of this process.
 * @throws {StartError} if the address or the key file cannot be used
 */
export async function openLocalAdmin(
  service: LocalService,
  admin: string,
  { takeover, log }: Pick<OpenAdminOptions, "takeover" | "log">,
): Promise<AdminListener> {
  const backend: AdminBackend = {
    execute: (command) => executeCommand(service, command),
    health: () => Promise.resolve(service.health()),
    metrics: () => Promise.resolve(service.metrics()),
  };
  return await openAdmin({ ...service.settings, admin }, { backend, tls: service.material, takeover, log });
}
