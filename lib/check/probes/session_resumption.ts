/**
 * Probes TLS session resumption, which saves a signature of the server and, below TLS 1.3, a round trip.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { finding } from "../finding_codes.ts";
import { connectTls } from "../../client/raw_connection.ts";
import { within } from "../../client/deadline.ts";
import { throwIfLocal } from "./local_failure.ts";
import { type Target, tlsOptions } from "../probe_target.ts";

const DEADLINE = 4000;

/**
 * The longest wait for session tickets, in milliseconds. TLS 1.3 servers send them after the handshake. The wait is
 * 50 ms plus twice the duration of the handshake, up to this limit.
 */
const MAX_TICKET_WAIT = 500;

/** Connects twice, the second time with the session of the first. */
export async function probeResumption(
  target: Target,
  alpn: readonly string[],
  outer: AbortSignal,
): Promise<readonly Finding[]> {
  const options = { ...tlsOptions(target), alpn };
  try {
    return await within(DEADLINE, outer, async (signal) => {
      const session = await obtainSession(target, options, signal);
      await using second = await connectTls(target.endpoint, { ...options, ...session && { session } }, signal);
      return second.resumed ? [finding("resumption-ok", "ok", "TLS sessions are resumed")] : [
        finding(
          "resumption-missing",
          "note",
          "TLS sessions are not resumed: each reconnection needs a full handshake.",
        ),
      ];
    });
  } catch (error) {
    outer.throwIfAborted();
    throwIfLocal(error);
    // Another probe reports faults of the handshake.
    return [];
  }
}

async function obtainSession(
  target: Target,
  options: Parameters<typeof connectTls>[1],
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const start = performance.now();
  await using first = await connectTls(target.endpoint, options, signal);
  // Tickets arrive after the handshake and are processed only by a read. The server sends no application data here.
  const wait = Math.min(MAX_TICKET_WAIT, 50 + 2 * (performance.now() - start));
  await within(wait, signal, (stop) => first.read(stop)).catch(() => {});
  return first.session;
}
