/**
 * From settings to the parts of a service: the rules between options, limits and addresses.
 * @module
 */
import { validateAuthOptions } from "../auth/validate_auth_options.ts";
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
import { type OriginRule, originRule } from "../handshake/origin.ts";

/** What settings come to, once they are checked against each other. */
export interface CheckedSettings {
  readonly mode: Mode;
  readonly origin: OriginRule;
  /** Where upgrades are taken. */
  readonly paths: PathSet;
}

/** Settings as a service starts with them: loaded, and checked once. */
export type ServiceSettings = Pick<
  LoadedSettings<typeof SERVICE_OPTIONS, CheckedSettings>,
  "settings" | "given" | "checked"
>;

/**
 * Checks settings against each other.
 * @param wrong those that could not be read, and have their defaults
 * @throws {UsageError} with every mistake
 */
export function validate(
  settings: Settings,
  given: ReadonlyMap<string, string>,
  wrong: ReadonlySet<string> = new Set(),
): CheckedSettings {
  const problems = [...validateAuthOptions(settings, given), ...validateBrokerOptions(settings, given)];
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
  const origin = attempt("origin", () => originRule(settings.origin, mode !== undefined && isLocal(mode)));
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

/** Whether it listens where only this machine reaches it over the network. */
export function isLocal({ address }: Mode): boolean {
  return address.transport === "tcp" && (address.hostname === "localhost" || isLoopback(address.hostname));
}

/** How many connections a service takes. Undefined: unlimited. */
export interface ConnectionLimits {
  /** In all its processes. */
  readonly maxConnections: number | undefined;
  /** In this process: what its descriptors carry. */
  readonly maxConnectionsHere: number | undefined;
}

/**
 * How many connections the service takes: what was asked for, or what the descriptors of its processes carry: nine tenths
 * of them, less 64, as Deno and the listener's reserve hold 47 (measured), and connections that are no WebSocket yet need
 * theirs.
 * @param processes how many share the port
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

/** The default budget: a share of the memory that the process may use, and its bounds, bytes. */
const MEMORY_SHARE = 1 / 8;
const LEAST_BUDGET = 32 * 1024 ** 2;
const MOST_BUDGET = 512 * 1024 ** 2;

/**
 * What queued messages of all peers of this process may take together: what was asked for, or a share of the memory.
 * @param processes how many share the memory
 */
export function memoryBudget({ memoryBudget }: Settings, processes: number): number {
  if (memoryBudget !== undefined) return memoryBudget;
  const memory = memoryLimit();
  if (memory === undefined) return MOST_BUDGET / 4;
  return Math.min(MOST_BUDGET, Math.max(LEAST_BUDGET, Math.floor(memory * MEMORY_SHARE / processes)));
}

/** Bytes that this process may use, its cgroup's limit included; undefined where it may not ask. Never prompts. */
function memoryLimit(): number | undefined {
  const limits: number[] = [];
  if (granted({ name: "sys", kind: "systemMemoryInfo" })) limits.push(Deno.systemMemoryInfo().total);
  for (const path of ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]) {
    if (!granted({ name: "read", path })) continue;
    try {
      limits.push(Number(Deno.readTextFileSync(path).trim()));
    } catch {
      // The other version of cgroups, or none.
    }
  }
  const known = limits.filter((limit) => limit > 0);
  return known.length > 0 ? Math.min(...known) : undefined;
}

function granted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}

/** What a client connects to: a name that the certificate has, where the address itself says nothing. */
export function urlOf(addr: Deno.Addr, { kind }: Mode, path: string, material: TlsMaterial | undefined): string {
  if (!("hostname" in addr)) return `ws+unix:${(addr as Deno.UnixAddr).path}`;
  return `${kind === "direct" ? "wss" : "ws"}://${publicHost(addr.hostname, material)}:${addr.port}${path}`;
}

/** A host that the certificate is for; where there is none, one that a client on this machine can connect to. */
function publicHost(hostname: string, material: TlsMaterial | undefined): string {
  const anywhere = hostname === "0.0.0.0" || hostname === "::" || isLoopback(hostname);
  if (material && (anywhere || !coversHost(namesOf(material.leaf), hostname))) {
    const name = material.names.find((name) => !name.startsWith("*")) ?? material.names[0] ?? "localhost";
    // Of a wildcard any name will do.
    return name.replace("*", "www");
  }
  const host = hostname === "0.0.0.0" || hostname === "::" ? "127.0.0.1" : hostname;
  return host.includes(":") ? `[${host}]` : host;
}
