/**
 * Opens a WebSocket for the command line. Deno's own WebSocket does not suffice for `connect`: it sends no pings, accepts no
 * untrusted certificate (createHttpClient ignores `unsafelyIgnoreCertificateErrors`), hides the response of a refused
 * handshake, and reports code 0 for a broken connection (measured on Deno 2.9.6).
 * @module
 */
import { messageOf } from "../errors.ts";
import { DeadlineError, within } from "./deadline.ts";
import { encodeRequest, type HandshakeRequest, newKey, readBody, readHead } from "./opening_handshake.ts";
import { connectTcp, connectTls, type RawConnection } from "./raw_connection.ts";
import { bodyText, quote } from "./printable_text.ts";
import { verifyResponse } from "./verify_response.ts";
import { ClientSession } from "./websocket_session.ts";

/** The longest message that is accepted, in bytes. */
const MAX_MESSAGE = 64 * 1024 * 1024;

/** Milliseconds to wait for the body of a refusal. */
const BODY_WAIT = 500;

/** Options of `openClient`. */
export interface OpenOptions extends HandshakeRequest {
  /** Authorities to trust in addition to the public ones, PEM text. */
  readonly ca?: readonly string[];
  /** Whether to skip verifying the server's certificate. */
  readonly insecure?: boolean;
  /** Time limit for the connection and the handshake, in milliseconds. */
  readonly timeout: number;
}

/** An open connection, or one sentence that explains the failure. */
export type OpenResult =
  | { readonly session: ClientSession; readonly connection: RawConnection; readonly subprotocol?: string }
  | { readonly failure: string };

/**
 * Opens a WebSocket. Verifies the certificate unless `insecure` is set. A response that a client must refuse is a failure.
 * Never throws because of a server's behaviour.
 */
export async function openClient(options: OpenOptions, outer: AbortSignal): Promise<OpenResult> {
  try {
    return await within(options.timeout, outer, (signal) => open(options, signal));
  } catch (error) {
    if (error instanceof DeadlineError) return { failure: `No connection within ${options.timeout} ms.` };
    return { failure: `The connection failed: ${messageOf(error)}.` };
  }
}

async function open(options: OpenOptions, signal: AbortSignal): Promise<OpenResult> {
  const { url, ca, insecure = false } = options;
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const secure = url.protocol === "wss:";
  const endpoint = { hostname, port: url.port === "" ? (secure ? 443 : 80) : Number(url.port) };
  const tls = { serverName: hostname, ...ca && { ca }, ...!insecure && { verify: true as const } };
  const connection = secure ? await connectTls(endpoint, tls, signal) : await connectTcp(endpoint, signal);
  let result: OpenResult;
  try {
    result = await handshake(connection, options, signal);
  } catch (error) {
    await connection.close();
    throw error;
  }
  if ("failure" in result) await connection.close();
  return result;
}

async function handshake(connection: RawConnection, options: OpenOptions, signal: AbortSignal): Promise<OpenResult> {
  const key = newKey();
  await connection.write(encodeRequest(options, key), signal);
  const head = await readHead(connection, signal);
  if ("kind" in head) {
    if (connection.error !== undefined) throw connection.error;
    return {
      failure: head.kind === "closed"
        ? "The connection was closed without a response to the handshake."
        : "The response to the handshake is not HTTP.",
    };
  }
  if (head.status !== 101) {
    const body = bodyText(await within(BODY_WAIT, signal, (wait) => readBody(connection, head, wait)));
    return { failure: `The handshake was answered with ${head.status}${body === "" ? "." : `: ${quote(body)}`}` };
  }
  const { problems, subprotocol } = await verifyResponse(options, head, key);
  const [problem] = problems;
  if (problem !== undefined) {
    const { kind, detail } = problem;
    const what = kind === "response" ? detail : `the server chose the ${kind} ${quote(detail)}, which was not offered`;
    return { failure: `The 101 response has to be refused: ${what}.` };
  }
  return { session: new ClientSession(connection, head.rest, MAX_MESSAGE), connection, subprotocol };
}
