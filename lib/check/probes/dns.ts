/**
 * Resolves the name with the resolver that clients on this machine use, and explains a failure.
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Finding } from "../../diagnostic_finding.ts";
import { messageOf } from "../../errors.ts";
import { addressSet, canonicalAddress, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { awaitReply, formatWait } from "./await_reply.ts";
import { type DnsReply, queryDns } from "./dns_query.ts";
import { throwIfLocal } from "./local_failure.ts";

const DEADLINE = 5000;

/** The file with the addresses that this machine gives to names itself. */
const HOSTS_FILE = "/etc/hosts";

/** How long to wait for the name server's reason of a failure, in milliseconds. */
const REASON_DEADLINE = 1500;

/** The duration above which a resolution is reported as slow, in milliseconds. */
const SLOW = 1000;

/** The highest number of addresses that are tried. */
const MAX_ADDRESSES = 8;

/** Addresses that are reachable from some networks only, with a description. */
const PRIVATE_RANGES: readonly (readonly [description: string, ranges: ReturnType<typeof addressSet>])[] = [
  ["a private address", addressSet(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])],
  ["an address of a carrier-grade NAT", addressSet(["100.64.0.0/10"])],
  ["a link-local address", addressSet(["169.254.0.0/16", "fe80::/10"])],
  ["an address that a local proxy or VPN assigns to names", addressSet(["198.18.0.0/15"])],
];

/** The result of a resolution. */
export interface ResolvedName {
  readonly findings: readonly Finding[];
  readonly addresses: readonly string[];
}

/**
 * Resolves a name. An address is returned as it is, without a finding.
 * @throws {DeadlineError} if the signal aborts too early for a conclusion
 * @throws {LocalFailure} if a limit or a permission of this machine prevents the resolution
 */
export async function probeDns(hostname: string, signal: AbortSignal): Promise<ResolvedName> {
  if (isIP(hostname) !== 0) return { findings: [], addresses: [hostname] };
  const start = performance.now();
  let failure: string;
  try {
    const found = await awaitReply<readonly { address: string }[] | undefined>(
      DEADLINE,
      signal,
      () => lookup(hostname, { all: true }),
      () => undefined,
    );
    if (found === undefined) return { findings: [timeoutFinding(hostname, performance.now() - start)], addresses: [] };
    const addresses = [...new Set(found.map(({ address }) => address))].slice(0, MAX_ADDRESSES);
    if (addresses.length > 0) {
      const ms = performance.now() - start;
      return { findings: inspectAddresses(hostname, addresses, ms, await readHostsFile(hostname)), addresses };
    }
    failure = "an empty answer";
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    throwIfLocal(error);
    failure = messageOf(error);
  }
  return { findings: [await explainFailure(hostname, failure, signal)], addresses: [] };
}

function timeoutFinding(hostname: string, waited: number): Finding {
  return finding(
    "dns-timeout",
    "error",
    `The name ${hostname} was not resolved within ${formatWait(waited)}.`,
    "Check whether this machine's name server and the domain's own name servers answer.",
  );
}

/** Queries the name server for the cause: the system's resolver reports the same failure for all causes. */
async function explainFailure(hostname: string, failure: string, signal: AbortSignal): Promise<Finding> {
  let reply: DnsReply;
  try {
    reply = await within(REASON_DEADLINE, signal, (wait) => queryDns(hostname, wait));
  } catch (error) {
    if (error instanceof DeadlineError && signal.aborted) throw error;
    return explainNoReply(hostname, failure, error);
  }
  const connectToHint = "To test before the record exists, use --connect-to HOST:PORT.";
  if (reply.code === "NXDOMAIN") {
    return finding(
      "dns-nxdomain",
      "error",
      `The name ${hostname} does not exist (the name server ${reply.server} answers NXDOMAIN).`,
      `Check the spelling, and whether the domain is registered and not expired. Add an A record. ${connectToHint}`,
    );
  }
  if (reply.code === "NOERROR" && reply.hasAddress) {
    return finding(
      "dns-no-resolver",
      "error",
      `The name ${hostname} has an address according to the name server ${reply.server}, but the resolver of this ` +
        `machine fails (${failure}).`,
      "Check the resolver of this machine (hosts: in /etc/nsswitch.conf, the name servers in /etc/resolv.conf).",
    );
  }
  if (reply.code === "NOERROR") {
    return finding(
      "dns-no-address",
      "error",
      `The name ${hostname} exists but has no address, according to the name server ${reply.server}.`,
      `Add an A record (IPv4) or an AAAA record (IPv6) for exactly this name. ${connectToHint}`,
    );
  }
  return finding(
    "dns-server-failure",
    "error",
    `The name server ${reply.server} answers ${reply.code} for ${hostname}. It is unknown whether the name exists.`,
    reply.code === "SERVFAIL"
      ? "Check whether the domain's own name servers answer and its DNSSEC signatures are valid. Try another resolver: " +
        "dig @1.1.1.1 " + hostname
      : "Use a name server that accepts queries from this machine (/etc/resolv.conf).",
  );
}

/** Explains a failure of the resolver if the name server gave no reason. */
function explainNoReply(hostname: string, failure: string, error: unknown): Finding {
  // getaddrinfo reports an exceeded limit of open files as a name that does not exist (measured on Deno 2.9.6).
  if (error instanceof Error && "code" in error && /^E[MN]FILE$/.test(String(error.code))) throwIfLocal(error);
  if (!failure.includes("ENOTFOUND")) {
    const reason = error instanceof DeadlineError ? "it does not answer" : messageOf(error);
    return finding(
      "dns-no-resolver",
      "error",
      `This machine's name server cannot be used (${reason}), so it is unknown whether the name ${hostname} exists.`,
      "Check this machine's network and its name servers (/etc/resolv.conf). To test without a name server, use " +
        "--connect-to ADDRESS:PORT.",
    );
  }
  return finding(
    "dns-no-answer",
    "error",
    `The name ${hostname} has no address (${failure}).`,
    "Check the spelling, the A record and this machine's name server. To test before the record exists, use " +
      "--connect-to HOST:PORT.",
  );
}

/** Returns the addresses of a name in this machine's hosts file; empty if it cannot be read. */
async function readHostsFile(hostname: string): Promise<readonly string[]> {
  const text = await Deno.readTextFile(HOSTS_FILE).catch(() => "");
  return text.split("\n").map((line) => line.replace(/#.*/, "").trim().toLowerCase().split(/\s+/))
    .filter(([, ...names]) => names.includes(hostname.toLowerCase())).map(([address]) => address!);
}

/**
 * Reports unsuitable addresses and a slow resolution of `ms` milliseconds. Addresses in `hosts`, from this machine's
 * hosts file, are only a note: other machines do not use them.
 */
export function inspectAddresses(
  hostname: string,
  addresses: readonly string[],
  ms: number,
  hosts: readonly string[] = [],
): Finding[] {
  const findings: Finding[] = [];
  const local = hostname === "localhost" || hostname.endsWith(".localhost");
  const list = addresses.join(", ");
  const canonical = addresses.map((address) => canonicalAddress(address.replace(/%.*$/, "")) ?? address);
  const loopback = canonical.filter(isLoopback);
  const unspecified = canonical.filter((address) => address === "0.0.0.0" || address === "::");
  const fromHosts = new Set(hosts.map((address) => canonicalAddress(address) ?? address));
  const levelOf = (list: readonly string[]) => list.every((address) => fromHosts.has(address)) ? "note" : "warning";
  if (unspecified.length > 0) {
    findings.push(finding(
      "dns-unspecified",
      levelOf(unspecified),
      `${hostname} resolves to ${unspecified.join(", ")}, which is not a destination but means every address of a ` +
        "machine. Ad blockers and parental controls return it for names that they block.",
      "Give the name its public address. If a DNS filter of this network causes this, allow the name there.",
    ));
  }
  if (loopback.length > 0 && !local) {
    const some = loopback.length < addresses.length;
    findings.push(finding(
      "dns-loopback",
      levelOf(loopback),
      `${hostname} resolves to ${loopback.join(", ")}${some ? ` among ${list}` : ""}` +
        (levelOf(loopback) === "note"
          ? " in this machine's hosts file: other machines are not affected."
          : ": each client connects to its own machine."),
      "Give the name its public address.",
    ));
  } else if (addresses.every((address) => address.includes(":")) && !local && unspecified.length === 0) {
    findings.push(finding(
      "dns-only-ipv6",
      "warning",
      `${hostname} has only IPv6 addresses (${list}): clients in IPv4 networks cannot reach it.`,
      "Add an A record.",
    ));
  }
  for (const [description, range] of PRIVATE_RANGES) {
    const inside = canonical.filter((address) => range.has(address));
    if (inside.length === 0) continue;
    findings.push(finding(
      "dns-private",
      "note",
      `${hostname} resolves to ${inside.join(", ")}, ${description}: clients outside that network cannot reach it.`,
      "If clients connect from other networks, give the name its public address.",
    ));
  }
  if (ms > SLOW) {
    findings.push(finding(
      "dns-slow",
      "warning",
      `With this machine's name server, the resolution of ${hostname} took ${
        formatWait(ms)
      }. The first connection of ` +
        "each client may wait that long.",
      "Check whether this machine's first name server (/etc/resolv.conf) and the domain's name servers answer.",
    ));
  }
  const hasProblem = findings.some(({ level }) => level !== "note");
  return hasProblem ? findings : [...findings, finding("dns-ok", "ok", `${hostname} resolves to ${list}`)];
}
