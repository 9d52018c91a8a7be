/**
 * A WebSocket client for the command line. Deno's own WebSocket cannot do what `connect` promises: it sends no pings,
 * takes no untrusted certificate (createHttpClient ignores `unsafelyIgnoreCertificateErrors`), hides the answer that
 * refused it and reports code 0 for a connection that broke (measured on Deno 2.9.6).
 * @module
 */
import type { Finding } from "../finding.ts";
import type { RawConnection } from "./raw_connection.ts";
import { within } from "./deadline.ts";
import { ClientSession } from "./websocket_session.ts";
import type { CheckOptions } from "../check/check_target.ts";
import { probeUpgrade } from "../check/probes/websocket_handshake.ts";
import { probeUrl } from "../check/probes/url.ts";

/** The longest message taken, in bytes. */
const MOST_MESSAGE = 64 * 1024 * 1024;

/** An open connection, or why there is none. */
export type Opened =
  | { readonly session: ClientSession; readonly connection: RawConnection; readonly subprotocol?: string }
  | { readonly failure: Finding };

/**
 * Opens a WebSocket. The certificate is verified unless `insecure` is set; whatever a client has to refuse in the
 * answer is a failure.
 * @param timeout in milliseconds
 */
export async function openClient(
  options: CheckOptions,
  { insecure, timeout }: { readonly insecure: boolean; readonly timeout: number },
  outer: AbortSignal,
): Promise<Opened> {
  const { findings, target } = probeUrl(options);
  if (target === undefined) return { failure: findings[0]! };
  const { ca } = options;
  const tls = { ...ca !== undefined && { ca }, ...insecure ? {} : { verify: true as const } };
  const upgraded = await within(timeout, outer, (signal) => probeUpgrade(target, tls, signal));
  const failure = upgraded.findings.find(({ level }) => level === "error");
  if (upgraded.connection === undefined || failure !== undefined) {
    await upgraded.connection?.close();
    return { failure: failure ?? upgraded.findings[0]! };
  }
  const { connection, rest, subprotocol } = upgraded;
  const session = new ClientSession(connection, rest, MOST_MESSAGE);
  return { session, connection, ...subprotocol && { subprotocol } };
}
