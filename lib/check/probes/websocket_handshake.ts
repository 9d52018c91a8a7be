/**
 * The WebSocket upgrade: 101 with everything right, or why not.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Finding } from "../../finding.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
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
import { connectTcp, connectTls, type RawConnection, type TlsOptions } from "../../client/raw_connection.ts";
import { bodyText, quote } from "../../client/printable_text.ts";
import { offeredSubprotocols, verifyResponse } from "../../client/verify_response.ts";
import { type CheckOptions, type Evidence, type Target, tlsOptions } from "../check_target.ts";
import { finding } from "../finding_codes.ts";
import { awaitReply, seconds } from "./await_reply.ts";
import { certificateRequired, isCertificateAlert } from "./client_certificate.ts";
import { explainRefusal, tlsOnBothHops } from "./http_refusal.ts";
import { named } from "./known_services.ts";

/** A response that takes longer is reported, in milliseconds. */
const SLOW = 3000;

/** How long a refusal's body is waited for, in milliseconds. */
const BODY_WAIT = 500;

/** Silence that counts as none, where the check's own time does not end first, in milliseconds. */
const LONGEST_WAIT = 60_000;

/** What the upgrade came to. The caller closes the connection. */
export interface Upgraded {
  readonly findings: readonly Finding[];
  /** Open, and upgraded so far that frames can be read. */
  readonly connection?: RawConnection;
  /** Bytes that were read after the response head. */
  readonly rest: Uint8Array;
  /** When the response came, on `performance.now`'s clock. */
  readonly since: number;
}

const NOTHING = new Uint8Array(0);

/**
 * Connects and asks for the upgrade.
 * @param tls what to do beyond sending the target's name
 * @throws {DeadlineError} if the signal ended it too early to conclude anything
 */
export async function probeUpgrade(
  target: Target,
  tls: TlsOptions,
  evidence: Evidence,
  signal: AbortSignal,
): Promise<Upgraded> {
  const asksForCertificate = evidence.asksForCertificate ?? false;
  try {
    return await awaitReply(LONGEST_WAIT, signal, async (wait) => {
      const { connection, head, key, request, ms } = await requestUpgrade(target, tls, wait);
      if ("kind" in head) return await failed(connection, explainNoResponse(connection, head, asksForCertificate));
      if (head.status === 101) return await judgeUpgrade(connection, request, head, key, ms);
      const body = await within(BODY_WAIT, wait, (soon) => readBody(connection, head, soon));
      await connection.close();
      const found = explainRefusal({ target, head, body, asksForCertificate });
      return { findings: [await refine(found, head.status, body, target, tls, wait)], rest: NOTHING, since: 0 };
    }, (waited) => ({ findings: [explainSilence(waited)], rest: NOTHING, since: 0 }));
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    return { findings: [explainError(messageOf(error), asksForCertificate)], rest: NOTHING, since: 0 };
  }
}

/** A connection on which the upgrade was asked for, and the response. */
interface Requested {
  readonly connection: RawConnection;
  readonly request: HandshakeRequest;
  readonly key: string;
  readonly head: ResponseHead | NoResponse;
  /** How long the response took, in milliseconds. */
  readonly ms: number;
}

/** Connects and sends a handshake; the caller closes the connection. */
export async function requestUpgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<Requested> {
  const connection = target.secure
    ? await connectTls(target.endpoint, { ...tlsOptions(target), ...tls }, signal)
    : await connectTcp(target.endpoint, signal);
  try {
    const start = performance.now();
    const key = newKey();
    const request = { ...target.options, url: target.url };
    await connection.write(encodeRequest(request, key), signal);
    const head = await readHead(connection, signal);
    return { connection, request, key, head, ms: Math.round(performance.now() - start) };
  } catch (error) {
    await connection.close();
    throw error;
  }
}

async function failed(connection: RawConnection, found: Finding): Promise<Upgraded> {
  await connection.close();
  return { findings: [found], rest: NOTHING, since: 0 };
}

async function judgeUpgrade(
  connection: RawConnection,
  request: HandshakeRequest,
  head: ResponseHead,
  key: string,
  ms: number,
): Promise<Upgraded> {
  const since = performance.now();
  const findings = await judgeResponse(request, head, key);
  if (findings.length === 0) findings.push(finding("upgrade-ok", "ok", `101 in ${ms} ms`));
  if (ms > SLOW) {
    findings.push(finding(
      "upgrade-slow",
      "warning",
      `The upgrade was answered after ${seconds(ms)}: clients with less patience give up.`,
      "See what the service does before it answers, and how busy it is.",
    ));
  }
  return { findings, connection, rest: head.rest, since };
}

/** Tries what a refusal may be about, so that its cause need not be guessed. */
async function refine(
  found: Finding,
  status: number,
  body: string,
  target: Target,
  tls: TlsOptions,
  signal: AbortSignal,
): Promise<Finding> {
  const accepts = async (options: Partial<CheckOptions>): Promise<boolean> => {
    const changed = { ...target, options: { ...target.options, ...options } };
    try {
      const { connection, head } = await within(BODY_WAIT * 2, signal, (wait) => requestUpgrade(changed, tls, wait));
      await connection.close();
      return "status" in head && head.status === 101;
    } catch {
      return false;
    }
  };
  const { url, options } = target;
  const own = `${target.secure ? "https" : "http"}://${url.host}`;
  if ((found.code === "upgrade-forbidden" || found.code === "upgrade-bad-request") && options.origin !== own) {
    if (await accepts({ origin: own })) {
      const sent = options.origin === undefined ? "none, as programs do" : quote(options.origin);
      return finding(
        "upgrade-forbidden",
        "error",
        `The response is ${named(status)}: the service accepts the Origin ${own}, and this check sent ${sent}.`,
        `Have the service allow the page's origin (and requests without one, if programs are to connect), or send one ` +
          `that it accepts: --origin ${own}`,
      );
    }
  }
  if (found.code === "upgrade-bad-request" && bodyText(body) === "" && await refusesEveryRequest(target, tls, signal)) {
    return finding(
      "upgrade-malformed",
      "error",
      "The response is 400 without a reason, to a plain GET as well: the service does not receive what was sent.",
      "See whether a load balancer in front of the service sends it the PROXY protocol, which the service does not take " +
        "(nginx: proxy_protocol on; HAProxy: send-proxy in server), and turn that off.",
    );
  }
  return found;
}

/** Whether an ordinary request of the same path is a bad request, too. */
async function refusesEveryRequest(target: Target, tls: TlsOptions, outer: AbortSignal): Promise<boolean> {
  try {
    return await within(BODY_WAIT * 2, outer, async (signal) => {
      await using connection = target.secure
        ? await connectTls(target.endpoint, { ...tlsOptions(target), ...tls }, signal)
        : await connectTcp(target.endpoint, signal);
      const { pathname, host } = target.url;
      const request = `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
      await connection.write(new TextEncoder().encode(request), signal);
      const head = await readHead(connection, signal);
      return "status" in head && head.status === 400;
    });
  } catch {
    return false;
  }
}

function explainSilence(waited: number): Finding {
  return finding(
    "upgrade-timeout",
    "error",
    `The upgrade request was not answered within ${seconds(waited)}.`,
    "See whether the service, or the one behind the proxy, hangs; --timeout waits longer.",
  );
}

function explainError(message: string, asksForCertificate: boolean): Finding {
  if (isCertificateAlert(message) || (asksForCertificate && /alert/i.test(message))) {
    return certificateRequired(message);
  }
  return finding(
    "upgrade-cut",
    "error",
    `The connection ended before the upgrade was answered (${message}).`,
    "See the service's log at this time.",
  );
}

function explainNoResponse(
  connection: RawConnection,
  { kind, bytes }: NoResponse,
  asksForCertificate: boolean,
): Finding {
  const message = connection.error?.message ?? "";
  if (isCertificateAlert(message) || (asksForCertificate && kind === "closed")) {
    return certificateRequired(message === "" ? "the connection is closed after the handshake" : message);
  }
  if (kind === "closed") {
    return finding(
      "upgrade-cut",
      "error",
      `The connection was closed in place of an answer to the upgrade request${message === "" ? "" : ` (${message})`}.`,
      "See the service's log at this time; a web application firewall does this too.",
    );
  }
  // What nginx makes of the TLS alert of the service behind it: it passes the bytes on as a response of HTTP/0.9.
  if (bytes[0] === 21 && bytes[1] === 3) return tlsOnBothHops("The answer to the upgrade request is a TLS alert.");
  if (latin1Text(bytes).startsWith("PRI * HTTP/2") || (bytes[3] === 4 && bytes[0] === 0)) {
    return finding(
      "upgrade-http2",
      "error",
      "The server answers in HTTP/2 without having been asked to.",
      "Let the server speak HTTP/1.1 where ALPN chose it: a WebSocket handshake is HTTP/1.1.",
    );
  }
  return finding(
    "upgrade-not-http",
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
): Promise<Finding[]> {
  const { problems } = await verifyResponse(request, head, key);
  const offered = offeredSubprotocols(request);
  const findings: Finding[] = [];
  const wrong = problems.filter(({ kind }) => kind === "response").map(({ detail }) => detail);
  if (wrong.length > 0) {
    findings.push(finding(
      "upgrade-response-invalid",
      "error",
      `The response is 101 with what a client has to refuse: ${wrong.join("; ")}.`,
      "Let a WebSocket library answer the handshake, and no cache or proxy change it.",
    ));
  }
  for (const { kind, detail } of problems) {
    if (kind === "extension") {
      findings.push(finding(
        "extension-not-offered",
        "error",
        `The server chose the extension ${quote(detail)} that was not offered: clients must fail.`,
        "Let the server choose only extensions that the client offers; see whether a proxy keeps an old answer.",
      ));
    }
    if (kind === "subprotocol") {
      findings.push(finding(
        "subprotocol-not-offered",
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
  return findings;
}
