/**
 * Validates settings against each other, and derives a service's limits and addresses.
 * @module
 */
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
import type { TlsMaterial } from "../tls/tls_material.ts";
import { validateBrokerOptions } from "./join_broker.ts";
import { coversHost, namesOf } from "../tls/x509/certificate_names.ts";
import { compileOriginRule, type OriginRule } from "../handshake/origin.ts";

/** Settings after validation. */
export interface CheckedSettings {
  readonly mode: Mode;
  readonly origin: OriginRule;
  /** The paths that accept upgrades. */
  readonly paths: PathSet;
}

/** Settings as a service starts with them: loaded, and checked once. */
export type ServiceSettings = Pick<
  LoadedSettings<typeof SERVICE_OPTIONS, CheckedSettings>,
  "settings" | "given" | "checked"
>;

/**
 * Checks settings against each other.
 * @param wrong settings that could not be read and have their defaults
 * @throws {UsageError} with every mistake
 */
export function validate(
  settings: Settings,
  given: ReadonlyMap<string, string>,
  wrong: ReadonlySet<string> = new Set(),
): CheckedSettings {
  const problems = [
    ...validateAuthOptions(settings, given),
    ...validateBrokerOptions(settings, given),
    ...validateAdminOptions(settings, given),
  ];
  for (const path of settings.path) {
    const parsed = attempt("path", () => parsePath(path));
    if (parsed?.literal === HEALTH_PATH) {
      problems.push(
        `${given.get("path")}: ${HEALTH_PATH} answers health checks, and no WebSocket; choose another path`,
      );
    }
  }
  // If the mode was unreadable, the checks of a mode are skipped.
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
  /** In all processes together. */
  readonly maxConnections: number | undefined;
  /** In this process: what its descriptors allow. */
  readonly maxConnectionsHere: number | undefined;
}

/**
 * The connection limits: the option's value, or what the descriptors of the processes allow: nine tenths of them, minus 64.
 * Deno and the listener's reserve hold 47 (measured), and connections before their upgrade also need descriptors.
 * @param processes the number of processes that share the port
 */
export function connectionLimits(settings: Settings, processes: number, log: Logger): ConnectionLimits {
  const descriptors = descriptorLimit();
  const here = descriptors === undefined ? undefined : Math.max(1, Math.floor(descriptors * 0.9) - 64);
  const derived = here && here * processes;
  const { maxConnections } = settings;
  if (maxConnections === undefined) return { maxConnections: derived, maxConnectionsHere: here };
  if (derived !== undefined && maxConnections > derived) {
    const each = processes > 1 ? `each of ${processes} processes` : "this process";
    log.warn(
      `--max-connections ${maxConnections} is more than the ${descriptors} descriptors of ${each} carry (${derived}): ` +
        "raise the limit (ulimit -n, LimitNOFILE), or ask for fewer",
    );
  }
  return { maxConnections, maxConnectionsHere: processes > 1 ? here : undefined };
}

/** The default memory budget: a fraction of the memory that the process may use, and its limits in bytes. */
const MEMORY_SHARE = 1 / 8;
const LEAST_BUDGET = 32 * 1024 ** 2;
const MOST_BUDGET = 512 * 1024 ** 2;

/**
 * The memory budget for queued messages of all peers of this process: the option's value, or a fraction of the memory.
 * @param processes the number of processes that share the memory
 */
export function memoryBudget({ memoryBudget }: Settings, processes: number): number {
  if (memoryBudget !== undefined) return memoryBudget;
  const memory = memoryLimit();
  if (memory === undefined) return MOST_BUDGET / 4;
  return Math.min(MOST_BUDGET, Math.max(LEAST_BUDGET, Math.floor(memory * MEMORY_SHARE / processes)));
}

/** Bytes that this process may use, considering its cgroup; undefined without the permission. Never prompts. */
function memoryLimit(): number | undefined {
  const limits: number[] = [];
  if (granted({ name: "sys", kind: "systemMemoryInfo" })) limits.push(Deno.systemMemoryInfo().total);
  for (const path of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    if (!granted({ name: "read", path })) continue;
    try {
      limits.push(Number(Deno.readTextFileSync(path).trim()));
    } catch {
      // The other cgroup version, or no cgroup.
    }
  }
  const known = limits.filter((limit) => limit > 0);
  return known.length > 0 ? Math.min(...known) : undefined;
}

function granted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** The URL for clients. Uses a name of the certificate if the address is not specific. */
export function urlOf(addr: Deno.Addr, { kind }: Mode, path: string, material: TlsMaterial | undefined): string {
  if (!("hostname" in addr)) return `ws+unix:${(addr as Deno.UnixAddr).path}`;
  return `${kind === "direct" ? "wss" : "ws"}://${publicHost(addr.hostname, material)}:${addr.port}${path}`;
}

/** A host that the certificate is valid for, or else one that clients on this machine can connect to. */
function publicHost(hostname: string, material: TlsMaterial | undefined): string {
  const anywhere = hostname === "0.0.0.0" || hostname === "::" || isLoopback(hostname);
  if (material && (anywhere || !coversHost(namesOf(material.leaf), hostname))) {
    const name = material.names.find((name) => !name.startsWith("*")) ?? material.names[0] ?? "localhost";
    // For a wildcard, any name is valid.
    return name.replace("*", "www");
  }
  const host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
  return host.includes(":") ? `[${host}]` : host;
}
