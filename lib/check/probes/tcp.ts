/**
 * Probes whether the port accepts TCP connections, and explains why not.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { messageOf } from "../../errors.ts";
import { isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { DeadlineError } from "../../client/deadline.ts";
import { awaitReply, formatWait } from "./await_reply.ts";

const DEADLINE = 5000;

/** The result of connecting to one address. */
interface Attempt {
  readonly address: string;
  readonly kind: "open" | "refused" | "timeout" | "unreachable";
  readonly detail: string;
  readonly ms: number;
}

/**
 * Connects to all addresses in parallel. `address` is the first in the list that accepts.
 * @throws {DeadlineError} if the signal aborts too early for a conclusion
 */
export async function probeTcp(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly address?: string }> {
  const attempts = await Promise.all(addresses.map((address) => tryConnect(address, port, signal)));
  const open = attempts.filter(({ kind }) => kind === "open");
  const closed = attempts.filter(({ kind }) => kind !== "open");
  const first = open[0];
  if (first === undefined) return { findings: [explainFailure(closed, port)] };
  if (closed.length > 0) {
    const local = addresses.every(isLoopback);
    return {
      address: first.address,
      findings: [finding(
        "tcp-partial",
        local ? "note" : "warning",
        `Port ${port} accepts connections on ${open.map(({ address }) => address).join(", ")} but not on ${
          closed.map(({ address, kind }) => `${address} (${kind})`).join(", ")
        }: clients that try the latter first wait or fail.`,
        "Listen on every address of the name (:: includes IPv4), or remove the others from DNS.",
      )],
    };
  }
  const fact = `port ${port} on ${first.address} accepts connections (${Math.round(first.ms)} ms)`;
  return { address: first.address, findings: [finding("tcp-ok", "ok", fact)] };
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
    return attempt("unreachable", code || messageOf(error));
  }
}

function explainFailure(closed: readonly Attempt[], port: number): Finding {
  const where = `port ${port} on ${closed.map(({ address }) => address).join(", ")}`;
  const dropped = closed.find(({ kind }) => kind === "timeout");
  if (dropped !== undefined) {
    return finding(
      "tcp-timeout",
      "error",
      `There was no reply from ${where} within ${
        formatWait(dropped.ms)
      }: a firewall drops the packets, or the address is wrong.`,
      `Open TCP port ${port} in the machine's firewall and in the provider's security group, and check the address.`,
    );
  }
  if (closed.some(({ kind }) => kind === "refused")) {
    return finding(
      "tcp-refused",
      "error",
      `The machine refuses connections to ${where}: nothing listens there.`,
      "Start the service, check that it listens on this address (not only on 127.0.0.1), and use its port in the URL.",
    );
  }
  return finding(
    "tcp-unreachable",
    "error",
    `There is no route to ${where} (${closed[0]?.detail}).`,
    "Check the address, this machine's network and its routes.",
  );
}
