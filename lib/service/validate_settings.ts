/**
 * Checks how settings can be combined, and derives the service's limits and URL from them.
 * @module
 */
import { formatSize } from "../duration_and_size.ts";
import { validateAuthOptions } from "../auth/validate_auth_options.ts";
import { validateAdminOptions } from "../config/admin_address.ts";
import { parsePath, PathSet } from "../config/path_pattern.ts";
import { type Mode, selectMode } from "../config/service_mode.ts";
import type { LoadedSettings } from "../config/load_settings.ts";
import type { SERVICE_OPTIONS, Settings } from "../config/service_options.ts";
import { UsageError } from "../errors.ts";
import { HEALTH_PATH } from "../http/health.ts";
import type { Logger } from "../log.ts";
import { descriptorLimit } from "../net/ffi/load_ffi.ts";
import { isLoopback } from "../ip.ts";
import type { TlsMaterial } from "../tls/loaded_certificate.ts";
import { validateBrokerOptions } from "./join_broker.ts";
import { readMemoryLimit } from "./memory_limit.ts";
import { coversHost, namesOf } from "../tls/x509/certificate_names.ts";
import { compileOriginRule, type OriginRule } from "../handshake/origin.ts";

/** Settings after validation. */
export interface CheckedSettings {
  readonly mode: Mode;
  readonly origin: OriginRule;
  /** The paths that accept upgrades. */
  readonly paths: PathSet;
}

/** The settings that a service starts with: loaded and checked. */
export type ServiceSettings = Pick<
  LoadedSettings<typeof SERVICE_OPTIONS, CheckedSettings>,
  "settings" | "given" | "checked"
>;

/**
 * Checks how settings can be combined.
 * @param wrong the names of settings that could not be read and have their defaults
 * @throws {UsageError} with every mistake
 */
export function validateSettings(
  settings: Settings,
  given: ReadonlyMap<string, string>,
  wrong: ReadonlySet<string> = new Set(),
): CheckedSettings {
  const problems = [
    ...validateAuthOptions(settings, given),
    ...validateBrokerOptions(settings, given),
    ...validateAdminOptions(settings, given),
  ];
  if (settings.path.length === 0) problems.push(`${given.get("path")}: at least one path is required`);
  for (const path of settings.path) {
    const parsed = attempt("path", () => parsePath(path));
    if (parsed?.literal === HEALTH_PATH) {
      problems.push(
        `${given.get("path")}: ${HEALTH_PATH} is reserved for the health check; choose another path`,
      );
    }
  }
  // If the mode could not be read, the mode-specific checks are skipped.
  const mode = wrong.has("mode") ? undefined : attempt("mode", () => selectMode(settings, given));
  const origin = attempt("origin", () => compileOriginRule(settings.origin, mode !== undefined && isLocal(mode)));
  if (problems.length > 0 || mode === undefined || origin === undefined) throw new UsageError(problems);
  return { mode, origin, paths: new PathSet(settings.path) };

  function attempt<T>(key: string, check: () => T): T | undefined {
    try {
      return check();
    } catch (error) {
      if (error instanceof UsageError) problems.push(...error.problems);
      else if (error instanceof RangeError) problems.push(`${given.get(key)}: ${error.message}`);
      else throw error;
    }
  }
}

/** Whether the service listens on loopback only. */
export function isLocal({ address }: Mode): boolean {
  return address.transport === "tcp" && (address.hostname === "localhost" || isLoopback(address.hostname));
}

/** The connection limits of a service. Undefined: unlimited. */
export interface ConnectionLimits {
  /** The limit for all processes together. */
  readonly maxConnections: number | undefined;
  /** The limit for this process, from its descriptor limit. */
  readonly maxConnectionsHere: number | undefined;
}

/**
 * Computes the connection limits from the option, or else from the descriptor limit: nine tenths of it, minus 64. Deno and
 * the listener's reserve use 47 descriptors (measured), and connections before their upgrade need some, too.
 * @param processes the number of processes that share the port
 */
export function computeConnectionLimits(settings: Settings, processes: number, log: Logger): ConnectionLimits {
  const descriptors = descriptorLimit();
  const here = descriptors === undefined ? undefined : Math.max(1, Math.floor(descriptors * 0.9) - 64);
  const derived = here && here * processes;
  const { maxConnections } = settings;
  if (maxConnections === undefined) return { maxConnections: derived, maxConnectionsHere: here };
  if (derived !== undefined && maxConnections > derived) {
    const each = processes > 1 ? `each of ${processes} processes` : "this process";
    log.warn(
      `--max-connections ${maxConnections} is too high: ${each} has ${descriptors} descriptors, which suffice for ` +
        `${derived} connections in total; raise the descriptor limit (ulimit -n, LimitNOFILE) or lower the option`,
    );
  }
  return { maxConnections, maxConnectionsHere: processes > 1 ? here : undefined };
}

/** Logs a warning if one message may be longer than what may wait for a peer. */
export function warnAboutLongMessages(settings: Settings, log: Logger): void {
  if (settings.maxBackpressure < settings.maxPayload) {
    log.warn(
      `maxBackpressure (${formatSize(settings.maxBackpressure)}) is less than maxPayload ` +
        `(${formatSize(settings.maxPayload)}): one long message can exceed it, and its receiver then counts as ` +
        "a slow reader",
    );
  }
}

/** The default memory budget: a fraction of the memory that the process may use, with a minimum and a maximum in bytes. */
const MEMORY_FRACTION = 1 / 8;
const MIN_BUDGET = 32 * 1024 ** 2;
const MAX_BUDGET = 512 * 1024 ** 2;

/**
 * Computes the memory budget for the queued messages of all peers of this process: the option, or a fraction of the memory.
 * @param processes the number of processes that share the memory
 */
export function computeMemoryBudget({ memoryBudget }: Settings, processes: number): number {
  if (memoryBudget !== undefined) return memoryBudget;
  const memory = readMemoryLimit();
  if (memory === undefined) return MAX_BUDGET / 4;
  return Math.min(MAX_BUDGET, Math.max(MIN_BUDGET, Math.floor(memory * MEMORY_FRACTION / processes)));
}

/** Builds the URL for clients. Uses a name of the certificate if the service listens on any address or on loopback. */
export function buildUrl(addr: Deno.Addr, { kind }: Mode, path: string, material: TlsMaterial | undefined): string {
  if (!("hostname" in addr)) return `ws+unix:${(addr as Deno.UnixAddr).path}`;
  return `${kind === "direct" ? "wss" : "ws"}://${selectPublicHost(addr.hostname, material)}:${addr.port}${path}`;
}

/** Selects a host that the certificate is valid for, or else one that clients on this machine can connect to. */
function selectPublicHost(hostname: string, material: TlsMaterial | undefined): string {
  const unspecific = hostname === "0.0.0.0" || hostname === "::" || isLoopback(hostname);
  let host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
  if (material && (unspecific || !coversHost(namesOf(material.leaf), hostname))) {
    const name = material.names.find((name) => !name.startsWith("*")) ?? material.names[0] ?? "localhost";
    // A wildcard covers any label.
    host = name.replace("*", "www");
  }
  return host.includes(":") ? `[${host}]` : host;
}
