/**
 * DNS: which addresses the name has, asked the way in which clients on this machine ask, and why it has none.
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { addressSet, canonicalAddress, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { awaitReply, seconds } from "./await_reply.ts";
import { queryDns } from "./dns_query.ts";

const DEADLINE = 5000;

/** How long the name server is asked for the reason of a failure, in milliseconds. */
const REASON_DEADLINE = 1500;

/** A resolution that takes longer is reported, in milliseconds. */
const SLOW = 1000;

/** How many addresses of a name are tried at most. */
const MAX_ADDRESSES = 8;

/** Addresses that lead somewhere on some networks only, with what they are. */
const PRIVATE_RANGES: readonly (readonly [what: string, ranges: ReturnType<typeof addressSet>])[] = [
  ["a private address", addressSet(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"])],
  ["an address of a provider's NAT", addressSet(["100.64.0.0/10"])],
  ["a link-local address", addressSet(["169.254.0.0/16", "fe80::/10"])],
  ["an address that a proxy or VPN on this machine makes up", addressSet(["198.18.0.0/15"])],
];

/** What resolution came to. */
export interface ResolvedName {
  readonly findings: readonly Finding[];
  readonly addresses: readonly string[];
}

/**
 * Resolves a name; an address resolves to itself without a finding.
 * @throws {DeadlineError} if the signal ended it too early to conclude anything
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
    if (found === undefined) return { findings: [timeout(hostname, performance.now() - start)], addresses: [] };
    const addresses = [...new Set(found.map(({ address }) => address))].slice(0, MAX_ADDRESSES);
    if (addresses.length > 0) {
      return { findings: judgeAddresses(hostname, addresses, performance.now() - start), addresses };
    }
    failure = "an empty answer";
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    failure = messageOf(error);
  }
  return { findings: [await explainFailure(hostname, failure, signal)], addresses: [] };
}

function timeout(hostname: string, waited: number): Finding {
  return finding(
    "dns-timeout",
    "error",
    `The name ${hostname} was not resolved within ${seconds(waited)}.`,
    "See whether this machine's name server answers, and whether the domain's own name servers do.",
  );
}

/** The system's resolver reports one failure for all causes, so the name server is asked itself. */
async function explainFailure(hostname: string, failure: string, signal: AbortSignal): Promise<Finding> {
  const reply = await within(REASON_DEADLINE, signal, (wait) => queryDns(hostname, wait)).catch(() => undefined);
  const elsewhere = "to test before DNS knows it, use --connect-to HOST:PORT.";
  if (reply?.code === "NXDOMAIN") {
    return finding(
      "dns-nxdomain",
      "error",
      `The name ${hostname} does not exist (NXDOMAIN, says the name server ${reply.server}).`,
      `See whether the name is spelt right and its domain is registered and not expired; add an A record; ${elsewhere}`,
    );
  }
  if (reply?.code === "NOERROR") {
    return finding(
      "dns-no-address",
      "error",
      `The name ${hostname} exists and has no address (says the name server ${reply.server}).`,
      `Add an A record (IPv4), or an AAAA record (IPv6), for this very name; ${elsewhere}`,
    );
  }
  if (reply !== undefined) {
    return finding(
      "dns-server-failure",
      "error",
      `The name server ${reply.server} fails for ${hostname}: it answers ${reply.code}, which says nothing about ` +
        "whether the name exists.",
      reply.code === "SERVFAIL"
        ? "See whether the domain's own name servers answer and its DNSSEC signatures are valid; the name itself may " +
          "be right. Another resolver may know more: dig @1.1.1.1 " + hostname
        : "Use a name server that answers this machine (/etc/resolv.conf).",
    );
  }
  return finding(
    "dns-no-answer",
    "error",
    `The name ${hostname} has no address (${failure}).`,
    `See whether the name is spelt right and has an A record, and whether this machine's name server works; ${elsewhere}`,
  );
}

/** What a name's addresses tell. */
export function judgeAddresses(hostname: string, addresses: readonly string[], ms: number): Finding[] {
  const findings: Finding[] = [];
  const local = hostname === "localhost" || hostname.endsWith(".localhost");
  const list = addresses.join(", ");
  const canonical = addresses.map((address) => canonicalAddress(address.replace(/%.*$/, "")) ?? address);
  const loopback = canonical.filter(isLoopback);
  const unspecified = canonical.filter((address) => address === "0.0.0.0" || address === "::");
  if (unspecified.length > 0) {
    findings.push(finding(
      "dns-unspecified",
      "warning",
      `${hostname} leads to ${
        unspecified.join(", ")
      }, which is not a destination: it stands for every address of the ` +
        "machine that asks. Ad blockers and parental controls answer so for names that they block.",
      "Give the name its public address; if a DNS filter of this network does this, allow the name there.",
    ));
  }
  if (loopback.length > 0 && !local) {
    const some = loopback.length < addresses.length;
    findings.push(finding(
      "dns-loopback",
      "warning",
      `${hostname} leads to ${loopback.join(", ")}${
        some ? ` among ${list}` : ""
      }: every machine that asks reaches itself.`,
      "Give the name its public address; if only this machine's hosts file says so, other machines are not concerned.",
    ));
  } else if (addresses.every((address) => address.includes(":")) && !local && unspecified.length === 0) {
    findings.push(finding(
      "dns-only-ipv6",
      "warning",
      `${hostname} has IPv6 addresses only (${list}): clients in IPv4 networks do not reach it.`,
      "Add an A record.",
    ));
  }
  for (const [what, range] of PRIVATE_RANGES) {
    const inside = canonical.filter((address) => range.has(address));
    if (inside.length === 0) continue;
    findings.push(finding(
      "dns-private",
      "note",
      `${hostname} leads to ${inside.join(", ")}, ${what}: clients outside that network do not get there.`,
      "If clients come from elsewhere, give the name its public address.",
    ));
  }
  if (ms > SLOW) {
    findings.push(finding(
      "dns-slow",
      "warning",
      `The name ${hostname} was resolved only after ${seconds(ms)}: every first connection waits that long.`,
      "See whether this machine's first name server answers (/etc/resolv.conf), and whether the domain's do.",
    ));
  }
  const bad = findings.some(({ level }) => level !== "note");
  return bad ? findings : [...findings, finding("dns-ok", "ok", `${hostname} is ${list}`)];
}
