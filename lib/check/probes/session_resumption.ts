/**
 * Whether a TLS session is resumed: it saves a client that reconnects a round trip and the server a signature.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { finding } from "../finding_codes.ts";
import { connectTls } from "../../client/raw_connection.ts";
import { within } from "../../client/deadline.ts";
import { type Target, tlsOptions } from "../check_target.ts";

const DEADLINE = 4000;

/**
 * How long the server may take to send its tickets, in TLS 1.3 after the handshake: a moment and two handshakes' time,
 * this at the most, in milliseconds.
 */
const MOST_TICKET_WAIT = 500;

/** Connects twice, the second time with the first one's session. */
export async function probeResumption(
  target: Target,
  alpn: readonly string[],
  outer: AbortSignal,
): Promise<readonly Finding[]> {
  const options = { ...tlsOptions(target), alpn };
  try {
    return await within(DEADLINE, outer, async (signal) => {
      const session = await firstSession(target, options, signal);
      await using second = await connectTls(target.endpoint, { ...options, ...session && { session } }, signal);
      return second.resumed
        ? [finding("resumption-ok", "ok", "a session was resumed")]
        : [finding("resumption-missing", "note", "Sessions are not resumed: each reconnection is a whole handshake.")];
    });
  } catch {
    outer.throwIfAborted();
    // The handshake itself was judged before; why a second one fails says nothing new.
    return [];
  }
}

async function firstSession(
  target: Target,
  options: Parameters<typeof connectTls>[1],
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  const start = performance.now();
  await using first = await connectTls(target.endpoint, options, signal);
  // Tickets come behind the handshake, and only a read takes them in. The server says nothing else by itself.
  const wait = Math.min(MOST_TICKET_WAIT, 50 + 2 * (performance.now() - start));
  await within(wait, signal, (stop) => first.read(stop)).catch(() => {});
  return first.session;
}
