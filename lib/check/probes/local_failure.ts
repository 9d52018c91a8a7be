/**
 * Recognises faults of the machine that runs the check. They say nothing about the server.
 * @module
 */
import { addressSet, canonicalAddress, isIPv4, isLoopback } from "../../ip.ts";
import { messageOf } from "../../errors.ts";

/** Why this machine cannot make a connection. */
export interface LocalCause {
  /** `route`: it has no route or no address of the family. `machine`: a limit or a permission, for any address. */
  readonly kind: "route" | "machine";
  /** Completes "This machine ": `has no route to it (ENETUNREACH)`. */
  readonly reason: string;
  readonly remedy: string;
}

/** A fault of this machine ends the check, because the next steps would report it as the server's. */
export class LocalFailure extends Error {
  override readonly name = "LocalFailure";
  readonly reason: string;
  readonly remedy: string;

  constructor({ reason, remedy }: LocalCause) {
    super(`this machine ${reason}`);
    this.reason = reason;
    this.remedy = remedy;
  }
}

const LINK_LOCAL = addressSet(["169.254.0.0/16", "fe80::/10"]);
/** IPv6 addresses that are reachable without a global address: unique local and loopback. */
const LOCAL_IPV6 = addressSet(["fc00::/7", "::1"]);

const FILE_LIMIT = "has too many open files";
const ROUTE_REMEDY = "Check this machine's network and routes, or run the check on a machine that has such a route.";

/** Faults by the code of the system call. ICMP errors never have these codes, except ENETUNREACH (no route on the way). */
const BY_CODE: Readonly<Record<string, LocalCause>> = {
  EMFILE: { kind: "machine", reason: FILE_LIMIT, remedy: "Raise the limit of open files (ulimit -n)." },
  ENFILE: { kind: "machine", reason: FILE_LIMIT, remedy: "Raise the system's limit of open files (fs.file-max)." },
  ENOBUFS: { kind: "machine", reason: "has no memory for a socket", remedy: "Free memory on this machine." },
  ENOMEM: { kind: "machine", reason: "has no memory for a socket", remedy: "Free memory on this machine." },
  EPERM: {
    kind: "machine",
    reason: "does not permit the connection",
    remedy: "Check this machine's firewall for outgoing connections, its sandbox, and Deno's --allow-net.",
  },
  ENETUNREACH: { kind: "route", reason: "has no route to it", remedy: ROUTE_REMEDY },
  ENETDOWN: { kind: "route", reason: "has its network interface down", remedy: "Start this machine's network." },
  EAFNOSUPPORT: { kind: "route", reason: "does not support the address family", remedy: ROUTE_REMEDY },
  EADDRNOTAVAIL: { kind: "route", reason: "has no free address or port to connect from", remedy: ROUTE_REMEDY },
};

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}

/** Returns the cause of a failed connection if it is a fault of this machine. */
export function localCause(error: unknown): LocalCause | undefined {
  if (error instanceof Deno.errors.NotCapable) {
    return {
      kind: "machine",
      reason: `does not permit the connection (${messageOf(error)})`,
      remedy: "Run the check with deno run -A, or with --allow-net for this address.",
    };
  }
  const code = codeOf(error);
  const cause = Object.hasOwn(BY_CODE, code) ? BY_CODE[code] : undefined;
  return cause && { ...cause, reason: `${cause.reason} (${code})` };
}

/**
 * Like {@link localCause}, for the first connection to an address. It also uses the codes that are a fault of this
 * machine for some addresses only.
 */
export function localCauseFor(text: string, error: unknown): LocalCause | undefined {
  const known = localCause(error);
  if (known !== undefined) return known;
  const code = codeOf(error);
  const address = canonicalAddress(text.replace(/%.*$/, ""));
  if (address === undefined) return undefined;
  // ICMP has no such error. ICMPv6 reports a firewall on the way in this form.
  if (code === "EACCES" && isIPv4(address)) {
    return { ...BY_CODE.EPERM!, reason: "does not permit the connection (EACCES)" };
  }
  if (code === "EINVAL" && LINK_LOCAL.has(address)) {
    return {
      kind: "route",
      reason: "needs the network interface of this link-local address, which a URL cannot contain",
      remedy: "Use another address of the server.",
    };
  }
  // node:net reports EADDRNOTAVAIL as EINVAL (measured on Deno 2.9.6).
  if (code === "EINVAL" || (code === "EHOSTUNREACH" && !hasSourceFor(address))) {
    const family = isIPv4(address) ? "IPv4" : LOCAL_IPV6.has(address) ? "IPv6" : "global IPv6";
    return { kind: "route", reason: `has no ${family} address to connect from (${code})`, remedy: ROUTE_REMEDY };
  }
  return undefined;
}

/** Throws a {@link LocalFailure} if an error is a fault of this machine, so that no probe reports it as the server's. */
export function throwIfLocal(error: unknown): void {
  if (error instanceof LocalFailure) throw error;
  const cause = localCause(error);
  if (cause !== undefined) throw new LocalFailure(cause);
}

/** Whether an interface has an address from which this machine can reach another one; true if the interfaces are unknown. */
function hasSourceFor(address: string): boolean {
  const needsGlobal = !isIPv4(address) && !LOCAL_IPV6.has(address);
  let own: string[];
  try {
    own = Deno.networkInterfaces().map((one) => canonicalAddress(one.address.replace(/%.*$/, "")) ?? "");
  } catch {
    return true;
  }
  return own.some((one) =>
    one !== "" && isIPv4(one) === isIPv4(address) && !isLoopback(one) && !LINK_LOCAL.has(one) &&
    !(needsGlobal && LOCAL_IPV6.has(one))
  );
}
