/**
 * Probes whether the port accepts TCP connections, and explains why not.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { messageOf } from "../../errors.ts";
import { isIPv4, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { DeadlineError } from "../../client/deadline.ts";
import { awaitReply, formatWait } from "./await_reply.ts";
import { type LocalCause, localCauseFor } from "./local_failure.ts";

const DEADLINE = 5000;

/** The result of connecting to one address. */
interface Attempt {
  readonly address: string;
  readonly kind: "open" | "refused" | "timeout" | "unreachable";
  readonly detail: string;
  readonly ms: number;
  /** Set if the attempt failed by a fault of this machine. */
  readonly local?: LocalCause;
}

/**
 * Connects to all addresses in parallel. `address` is the first in the list that accepts. An address that this machine
 * cannot connect to by its own fault is reported as not tried.
 * @throws {DeadlineError} if the signal aborts too early for a conclusion
 */
export async function probeTcp(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly address?: string }> {
  const attempts = await Promise.all(addresses.map((address) => tryConnect(address, port, signal)));
  const open = attempts.filter(({ kind }) => kind === "open");
  // If another address of the family accepts, this machine has the family, and the address is at fault.
  const hasFamily = ({ address }: Attempt) => open.some((one) => isIPv4(one.address) === isIPv4(address));
  const isUntried = (attempt: Attempt) =>
    attempt.local?.kind === "machine" || (attempt.local?.kind === "route" && !hasFamily(attempt));
  const untried = attempts.filter(isUntried);
  const closed = attempts.filter((attempt) => attempt.kind !== "open" && !isUntried(attempt));
  const first = open[0];
  if (first === undefined) {
    const failures = closed.length > 0 ? [explainFailure(closed, port)] : [];
    return { findings: [...failures, ...explainUntried(untried, port, closed.length > 0 ? "note" : "error")] };
  }
  const findings = explainUntried(untried, port, "note");
  if (closed.length > 0) {
    const local = addresses.every(isLoopback);
    findings.unshift(finding(
      "tcp-partial",
      local ? "note" : "warning",
      `Port ${port} accepts connections on ${listAddresses(open)} but not on ${
        closed.map(({ address, kind }) => `${address} (${kind})`).join(", ")
      }: clients that try the latter first wait or fail.`,
      "Listen on every address of the name (:: includes IPv4), or remove the others from DNS.",
    ));
  } else {
    const fact = `port ${port} on ${first.address} accepts connections (${Math.round(first.ms)} ms)`;
    findings.unshift(finding("tcp-ok", "ok", fact));
  }
  return { address: first.address, findings };
}

async function tryConnect(address: string, port: number, signal: AbortSignal): Promise<Attempt> {
  const start = performance.now();
  const attempt = (kind: Attempt["kind"], detail = "") => ({ address, kind, detail, ms: performance.now() - start });
  try {
    return await awaitReply(DEADLINE, signal, async (deadline) => {
      await using _connection = await connectTcp({ hostname: address, port }, deadline);
      return attempt("open");
    }, () => attempt("timeout"));
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    if (code === "ECONNREFUSED") return attempt("refused");
    if (code === "ETIMEDOUT") return attempt("timeout");
    const failed = attempt("unreachable", code || messageOf(error));
    const local = localCauseFor(address, error);
    return local === undefined ? failed : { ...failed, local };
  }
}

function listAddresses(attempts: readonly Attempt[]): string {
  return attempts.map(({ address }) => address).join(", ");
}

/** Reports addresses to which this machine could not connect by its own fault, one finding for each cause. */
function explainUntried(untried: readonly Attempt[], port: number, level: "note" | "error"): Finding[] {
  const causes = Map.groupBy(untried, ({ local }) => local!.reason);
  return [...causes].map(([reason, attempts]) =>
    finding(
      "tcp-not-tried",
      level,
      `Port ${port} on ${listAddresses(attempts)} was not tested: this machine ${reason}.`,
      attempts[0]!.local!.remedy,
    )
  );
}

/** Explains the failure of all addresses. Dropped packets are named first: they cost clients the most time. */
function explainFailure(closed: readonly Attempt[], port: number): Finding {
  const kind = (["timeout", "refused"] as const).find((one) => closed.some((attempt) => attempt.kind === one));
  const same = closed.filter((attempt) => attempt.kind === (kind ?? "unreachable"));
  const others = closed.filter((attempt) => !same.includes(attempt));
  const also = others.length === 0
    ? ""
    : ` The other addresses: ${others.map((one) => `${one.address} (${one.kind})`).join(", ")}.`;
  const where = `port ${port} on ${listAddresses(same)}`;
  if (kind === "timeout") {
    return finding(
      "tcp-timeout",
      "error",
      `There was no reply from ${where} within ${
        formatWait(Math.min(...same.map(({ ms }) => ms)))
      }: a firewall drops the packets, or the address is wrong.${also}`,
      `Open TCP port ${port} in the machine's firewall and in the provider's security group, and check the address.`,
    );
  }
  if (kind === "refused") {
    return finding(
      "tcp-refused",
      "error",
      `The machine refuses connections to ${where}: nothing listens there.${also}`,
      "Start the service, check that it listens on this address (not only on 127.0.0.1), and use its port in the URL.",
    );
  }
  return finding(
    "tcp-unreachable",
    "error",
    `A router or a firewall reports that ${where} cannot be reached (${same[0]!.detail}).${also}`,
    `Check that the machine is running and has this address, and open TCP port ${port} in its firewall.`,
  );
}
