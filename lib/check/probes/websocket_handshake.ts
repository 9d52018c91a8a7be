/**
 * The upgrade: 101 with everything right, or what the answer means.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp, connectTls, type RawConnection, type TlsOptions } from "../../client/raw_connection.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { quote } from "../../client/response_text.ts";
import { certificateWanted, explainStatus, tlsOnBothHops, wantsCertificate } from "./http_status.ts";
import { type Target, tlsOptions } from "../check_target.ts";
import {
  encodeRequest,
  type HandshakeRequest,
  latin1Text,
  newKey,
  type NoResponse,
  readBody,
  readHead,
  type ResponseHead,
} from "../../client/opening_handshake.ts";
import { offeredSubprotocols, verifyResponse } from "../../client/verify_response.ts";

/** An answer that takes longer is worth a word, in milliseconds. */
const SLOW = 3000;

/** How long a refusal's body is waited for, in milliseconds. */
const BODY_WAIT = 500;

/** What the upgrade came to. The caller closes the connection. */
export interface Upgraded {
  readonly findings: readonly Finding[];
  /** Open, and upgraded so far that frames can be read. */
  readonly connection?: RawConnection;
  /** What came behind the head. */
  readonly rest: Uint8Array;
  readonly subprotocol?: string;
}

const NOTHING = new Uint8Array(0);

/**
 * Connects and asks for the upgrade.
 * @param tls what the connection is to do beyond sending the target's name; by default no certificate is judged
 */
export async function probeUpgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<Upgraded> {
  let connection: RawConnection | undefined;
  const start = performance.now();
  try {
    connection = target.secure
      ? await connectTls(target.endpoint, { ...tlsOptions(target), ...tls }, signal)
      : await connectTcp(target.endpoint, signal);
    const asked = performance.now();
    const key = newKey();
    const request = { ...target.options, url: target.url };
    await connection.write(encodeRequest(request, key), signal);
    const head = await readHead(connection, signal);
    const ms = Math.round(performance.now() - asked);
    if ("kind" in head) return await failed(connection, noHead(connection, head));
    if (head.status !== 101) {
      const body = await within(BODY_WAIT, signal, (wait) => readBody(connection!, head, wait)).catch(() => "");
      return await failed(connection, explainStatus(target, head, body));
    }
    const { findings, subprotocol } = await judgeResponse(request, head, key);
    if (findings.length === 0) findings.push(finding("upgrade-ok", "ok", `101 in ${ms} ms`));
    if (ms > SLOW) {
      findings.push(finding(
        "upgrade-slow",
        "warning",
        `The upgrade was answered after ${(ms / 1000).toFixed(1)} s: clients with a shorter patience give up.`,
        "See what the service does before it answers, and how busy it is.",
      ));
    }
    return { findings, connection, rest: head.rest, ...subprotocol && { subprotocol } };
  } catch (error) {
    await connection?.close();
    const seconds = ((performance.now() - start) / 1000).toFixed(1);
    return { findings: [noAnswer(error, seconds)], rest: NOTHING };
  }
}

async function failed(connection: RawConnection, found: Finding): Promise<Upgraded> {
  await connection.close();
  return { findings: [found], rest: NOTHING };
}

function noAnswer(error: unknown, seconds: string): Finding {
  if (error instanceof DeadlineError) {
    return finding(
      "upgrade-timeout",
      "error",
      `The upgrade request was not answered within ${seconds} s.`,
      "See whether the service, or the one behind the proxy, hangs; --timeout waits longer.",
    );
  }
  if (wantsCertificate(messageOf(error))) return certificateWanted(messageOf(error));
  return finding(
    "upgrade-cut",
    "error",
    `The connection ended before the upgrade was answered (${messageOf(error)}).`,
    "See the service's log at this time.",
  );
}

function noHead(connection: RawConnection, { kind, bytes }: NoResponse): Finding {
  const detail = connection.error === undefined ? "" : ` (${connection.error.message})`;
  if (wantsCertificate(detail)) return certificateWanted(connection.error?.message ?? "");
  if (kind === "closed") {
    return finding(
      "upgrade-cut",
      "error",
      `The connection was closed in place of an answer to the upgrade request${detail}.`,
      "See the service's log at this time; a firewall for the web does this too.",
    );
  }
  // What nginx makes of the TLS alert of the service behind it: it passes the bytes on as an answer of HTTP/0.9.
  if (bytes[0] === 21 && bytes[1] === 3) return tlsOnBothHops("The answer to the upgrade request is a TLS alert.");
  return finding(
    "upgrade-garbage",
    "error",
    `The answer to the upgrade request is not HTTP: ${quote(latin1Text(bytes.subarray(0, 60)))}.`,
    "Use the port and path on which the WebSocket service or its proxy listens.",
  );
}

/** What a 101 response says that a client has to refuse. */
async function judgeResponse(
  request: HandshakeRequest,
  head: ResponseHead,
  key: string,
): Promise<{ findings: Finding[]; subprotocol?: string }> {
  const { problems, subprotocol } = await verifyResponse(request, head, key);
  const offered = offeredSubprotocols(request);
  const findings: Finding[] = [];
  const wrong = problems.filter(({ kind }) => kind === "response").map(({ detail }) => detail);
  if (wrong.length > 0) {
    findings.push(finding(
      "upgrade-answer-wrong",
      "error",
      `The answer is 101 with what a client has to refuse: ${wrong.join("; ")}.`,
      "Let a WebSocket library answer the handshake, and no cache or proxy change it.",
    ));
  }
  for (const { kind, detail } of problems) {
    if (kind === "extension") {
      findings.push(finding(
        "extension-unasked",
        "error",
        `The server chose the extension ${quote(detail)} that was not offered: clients must fail.`,
        "Let the server choose only extensions that the client offers; see whether a proxy keeps an old answer.",
      ));
    }
    if (kind === "subprotocol") {
      findings.push(finding(
        "subprotocol-unasked",
        "error",
        `The server chose the subprotocol ${quote(detail)} that was not offered: clients must fail.`,
        offered.length === 0
          ? "Let the server choose a subprotocol only where one is offered; if this one is wanted, offer it: --subprotocol."
          : "Let the server choose among those offered.",
      ));
    }
  }
  const none = !head.headers.has("sec-websocket-protocol");
  if (none && offered.length > 0) {
    findings.push(finding(
      "subprotocol-missing",
      "warning",
      `${offered.join(", ")} was offered as subprotocol and the server chose none: browsers then fail.`,
      "Let the server choose one of those offered, or offer none.",
    ));
  }
  return { findings, ...subprotocol && { subprotocol } };
}
