/**
 * Where the admin listener listens: from `--admin` and its companions to an address.
 * @module
 */
import { UsageError } from "../errors.ts";
import { isLoopback } from "../ip.ts";
import type { ADMIN_OPTIONS } from "./admin_options.ts";
import { flagOf, type Values } from "./option_table.ts";
import type { Address } from "./service_mode.ts";

/** What they come to. */
export type AdminSettings = Values<typeof ADMIN_OPTIONS>;

/**
 * Reads `HOST:PORT`, `PORT` or `unix:PATH`.
 * @param mode permissions of a unix socket
 * @throws {UsageError} what is required, and what was given
 */
export function parseAdminAddress(text: string, mode = 0o660): Address {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "") throw new UsageError("unix: needs the path of a socket: unix:/run/wss/admin.sock");
    return { transport: "unix", path, mode };
  }
  const [, bracketed, name, digits] = /^(?:\[([0-9a-fA-F:.]+)\]:|([^:[\]/@\s]*):)?(\d{1,5})$/.exec(text) ?? [];
  const port = Number(digits);
  if (digits === undefined || port > 65_535) {
    throw new UsageError(`HOST:PORT, PORT or unix:PATH is required (127.0.0.1:9100), not "${text}"`);
  }
  return { transport: "tcp", hostname: bracketed ?? (name || "127.0.0.1"), port };
}

/** Whether only this machine reaches it. */
export function isLocalAddress(address: Address): boolean {
  return address.transport === "unix" || address.hostname === "localhost" || isLoopback(address.hostname);
}

/** Checks the options against each other; one sentence a mistake, for a UsageError. */
export function validateAdminOptions(
  settings: AdminSettings & { readonly mode: string },
  given: ReadonlyMap<string, string>,
): string[] {
  const problems: string[] = [];
  const name = (key: string) => given.get(key) ?? flagOf(key);
  if (settings.admin === undefined) {
    for (const key of ["adminKeyFile", "adminTls", "adminMode"] as const) {
      if (given.has(key) && settings[key] !== false) problems.push(`${name(key)} needs an address: ${flagOf("admin")}`);
    }
    return problems;
  }
  if (!/^0?[0-7]{3}$/.test(settings.adminMode)) {
    problems.push(`${name("adminMode")}: it is three octal digits (600, 660), not "${settings.adminMode}"`);
  }
  let address: Address | undefined;
  try {
    address = parseAdminAddress(settings.admin);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems.map((problem) => `${name("admin")}: ${problem}`));
  }
  if (settings.adminTls && address?.transport === "unix") {
    problems.push(`choose one: ${name("adminTls")}, or ${name("admin")} on a unix socket, which needs no TLS`);
  } else if (settings.adminTls && settings.mode === "proxied") {
    problems.push(`${name("adminTls")} needs --mode direct: in proxied mode this service has no certificate`);
  }
  return problems;
}
