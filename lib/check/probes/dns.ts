/**
 * DNS: which addresses the name has, asked the way in which clients on this machine ask.
 * @module
 */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { canonicalAddress, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";

const DEADLINE = 5000;

/** The most addresses of a name that are looked at. */
const MOST_ADDRESSES = 8;

/** Resolves a name; an address resolves to itself without a finding. */
export async function probeDns(
  hostname: string,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly addresses: readonly string[] }> {
  if (isIP(hostname) !== 0) return { findings: [], addresses: [hostname] };
  try {
    const found = await within(DEADLINE, signal, () => lookup(hostname, { all: true }));
    const addresses = [...new Set(found.map(({ address }) => address))].slice(0, MOST_ADDRESSES);
    return { findings: judgeAddresses(hostname, addresses), addresses };
  } catch (error) {
    const timeout = error instanceof DeadlineError;
    return {
      addresses: [],
      findings: [
        timeout
          ? finding(
            "dns-timeout",
            "error",
            `The name ${hostname} was not resolved in time.`,
            "See whether this machine's name server answers, and whether the domain's own do.",
          )
          : noAnswer(hostname, messageOf(error)),
      ],
    };
  }
}

function noAnswer(hostname: string, detail: string): Finding {
  return finding(
    "dns-no-answer",
    "error",
    `The name ${hostname} has no address (${detail}).`,
    "See whether the name is spelt right and has an A record; to test before that, use --connect-to HOST:PORT.",
  );
}

/** What a name's addresses say. */
export function judgeAddresses(hostname: string, addresses: readonly string[]): Finding[] {
  if (addresses.length === 0) return [noAnswer(hostname, "an empty answer")];
  const findings: Finding[] = [];
  const local = hostname === "localhost" || hostname.endsWith(".localhost");
  const list = addresses.join(", ");
  if (addresses.every((address) => isLoopback(canonicalAddress(address) ?? address)) && !local) {
    findings.push(finding(
      "dns-loopback",
      "warning",
      `${hostname} leads to ${list}: every machine that asks reaches itself.`,
      "Give the name its public address; if only this machine's hosts file says so, others are not concerned.",
    ));
  } else if (addresses.every((address) => address.includes(":")) && !local) {
    findings.push(finding(
      "dns-only-ipv6",
      "warning",
      `${hostname} has IPv6 addresses only (${list}): clients in IPv4 networks do not reach it.`,
      "Add an A record.",
    ));
  }
  return findings.length > 0 ? findings : [finding("dns-ok", "ok", `${hostname} is ${list}`)];
}
