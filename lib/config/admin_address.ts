/**
 * Parses the address of the admin listener, and validates its options.
 * @module
 */
import { UsageError } from "../errors.ts";
import { isLoopback } from "../ip.ts";
import type { ADMIN_OPTIONS } from "./admin_options.ts";
import { flagOf, type Values } from "./option_table.ts";
import type { Address } from "./service_mode.ts";

/** The settings of the admin listener. */
export type AdminSettings = Values<typeof ADMIN_OPTIONS>;

/**
 * Reads `HOST:PORT`, `PORT` or `unix:PATH`.
 * @param mode permissions of a unix socket
 * @throws {UsageError} if the text has another form
 */
export function parseAdminAddress(text: string, mode = 0o660): Address {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") throw new UsageError("unix: requires the path of a socket: unix:/run/wss/admin.sock");
    return { transport: "unix", path, mode };
  }
  const [, bracketed, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]:|([^:[\]/@\s]*):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) {
    throw new UsageError(`must be HOST:PORT, PORT or unix:PATH (127.0.0.1:9100), not "${text}"`);
  }
  return { transport: "tcp", hostname: bracketed ?? (name || "127.0.0.1"), port };
}

/** Whether the address is reachable only from this machine. */
export function isLocalAddress(address: Address): boolean {
  return address.transport === "unix" || address.hostname === "localhost" || isLoopback(address.hostname);
}

/** Validates the admin options. Returns one sentence for each error, for a UsageError. */
export function validateAdminOptions(
  settings: AdminSettings & { readonly mode: string },
  given: ReadonlyMap<string, string>,
): string[] {
  const problems: string[] = [];
  const name = (key: string) => given.get(key) ?? flagOf(key);
  if (settings.admin === undefined) {
    for (const key of ["adminKeyFile", "adminTls", "adminMode"] as const) {
      if (given.has(key) && settings[key] !== false) problems.push(`${name(key)} requires ${flagOf("admin")}`);
    }
    return problems;
  }
  if (!/^0?[0-7]{3}$/.test(settings.adminMode)) {
    problems.push(`${name("adminMode")}: must be three octal digits (600, 660), not "${settings.adminMode}"`);
  }
  let address: Address | undefined;
  try {
    address = parseAdminAddress(settings.admin);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems.map((problem) => `${name("admin")}: ${problem}`));
  }
  if (settings.adminTls && address?.transport === "unix") {
    problems.push(`${name("adminTls")} cannot be combined with ${name("admin")} unix:PATH: a unix socket needs no TLS`);
  } else if (settings.adminTls && settings.mode === "proxied") {
    problems.push(`${name("adminTls")} requires --mode direct: in proxied mode the service has no certificate`);
  }
  return problems;
}
