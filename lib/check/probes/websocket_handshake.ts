/**
 * Requests the WebSocket upgrade, verifies a 101 response, and explains any other result.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Finding } from "../../diagnostic_finding.ts";
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
import type { CheckOptions } from "../check_options.ts";
import { type Evidence, type Target, tlsOptions } from "../probe_target.ts";
import { finding } from "../finding_codes.ts";
import { awaitReply, formatWait } from "./await_reply.ts";
import { certificateRequired, isMissingCertificate, MAY_REQUIRE_CERTIFICATE } from "./client_certificate.ts";
import { explainRefusal, tlsOnBothHops } from "./http_refusal.ts";
import { throwIfLocal } from "./local_failure.ts";
import { formatStatus } from "./response_fingerprints.ts";

/** The duration above which a response is reported as slow, in milliseconds. */
const SLOW = 3000;

/** How long to wait for the body of a refusal, in milliseconds. */
const BODY_WAIT = 500;

/** The longest wait for a response, in milliseconds. The check's own timeout usually ends first. */
const LONGEST_WAIT = 60_000;

/** The result of an upgrade request. The caller closes the connection. */
export interface UpgradeResult {
  readonly findings: readonly Finding[];
  /** The open connection, if frames can be exchanged. */
  readonly connection?: RawConnection;
  /** Bytes that were read after the response head. */
  readonly rest: Uint8Array;
  /** The time of the response, as of `performance.now()`. */
  readonly upgradedAt: number;
}

const NO_BYTES = new Uint8Array(0);

/**
 * Connects and requests the upgrade.
 * @param tls TLS options in addition to the target's name
 * @throws {DeadlineError} if the signal aborts too early for a conclusion
 * @throws {LocalFailure} if this machine cannot connect
 */
export async function probeUpgrade(
  target: Target,
  tls: TlsOptions,
  evidence: Evidence,
  signal: AbortSignal,
): Promise<UpgradeResult> {
  const requestsClientCertificate = evidence.requestsClientCertificate ?? false;
  try {
    return await awaitReply(LONGEST_WAIT, signal, async (wait) => {
      const { connection, head, key, request, ms } = await requestUpgrade(target, tls, wait);
      if ("kind" in head) {
        const found = explainNoResponse(connection, head, requestsClientCertificate);
        await connection.close();
        return { findings: [found], rest: NO_BYTES, upgradedAt: 0 };
      }
      if (head.status === 101) return await verifyUpgrade(connection, request, head, key, ms);
      const body = await within(BODY_WAIT, wait, (soon) => readBody(connection, head, soon));
      await connection.close();
      const found = explainRefusal({ target, head, body, requestsClientCertificate });
      return {
        findings: [await refineRefusal(found, head.status, body, target, tls, wait)],
        rest: NO_BYTES,
        upgradedAt: 0,
      };
    }, (waited) => ({ findings: [explainSilence(waited)], rest: NO_BYTES, upgradedAt: 0 }));
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    throwIfLocal(error);
    return { findings: [explainError(messageOf(error), requestsClientCertificate)], rest: NO_BYTES, upgradedAt: 0 };
  }
}

/** A connection, the upgrade request that was sent on it, and the response. */
interface UpgradeExchange {
  readonly connection: RawConnection;
  readonly request: HandshakeRequest;
  readonly key: string;
  readonly head: ResponseHead | NoResponse;
  /** How long the response took, in milliseconds. */
  readonly ms: number;
}

/** Connects, sends an upgrade request and reads the response. The caller closes the connection. */
export async function requestUpgrade(target: Target, tls: TlsOptions, signal: AbortSignal): Promise<UpgradeExchange> {
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

async function verifyUpgrade(
  connection: RawConnection,
  request: HandshakeRequest,
  head: ResponseHead,
  key: string,
  ms: number,
): Promise<UpgradeResult> {
  const upgradedAt = performance.now();
  const findings = await inspectResponse(request, head, key);
  if (findings.length === 0) findings.push(finding("upgrade-ok", "ok", `101 in ${ms} ms`));
  if (ms > SLOW) {
    findings.push(finding(
      "upgrade-slow",
      "warning",
      `The server answered the upgrade after ${formatWait(ms)}. Clients with a shorter timeout fail.`,
      "Check what the service does before it answers, and how busy it is.",
    ));
  }
  return { findings, connection, rest: head.rest, upgradedAt };
}

/** Repeats a refused request with changes that may succeed, to determine the cause of the refusal. */
async function refineRefusal(
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
    } catch (error) {
      throwIfLocal(error);
      return false;
    }
  };
  const { url, options } = target;
  const ownOrigin = `${target.secure ? "https" : "http"}://${url.host}`;
  if ((found.code === "upgrade-forbidden" || found.code === "upgrade-bad-request") && options.origin !== ownOrigin) {
    if (await accepts({ origin: ownOrigin })) {
      const sent = options.origin === undefined ? "none" : quote(options.origin);
      return finding(
        "upgrade-forbidden",
        "error",
        `The response is ${
          formatStatus(status)
        }: the service accepts the Origin ${ownOrigin}, but this check sent ${sent}.`,
        `Configure the service to allow the page's origin (and requests without an Origin, if programs connect), or send an ` +
          `origin that it accepts: --origin ${ownOrigin}`,
      );
    }
  }
  // The path of a WebSocket service may answer 400 to an ordinary request. Another path would not.
  const elsewhere = `/${crypto.randomUUID()}`;
  if (
    found.code === "upgrade-bad-request" && bodyText(body) === "" &&
    await answerToGet(target, elsewhere, tls, signal) === 400
  ) {
    return finding(
      "upgrade-malformed",
      "error",
      "The response is 400 without a reason, also to a plain GET of another path: probably the service does not receive " +
        "the bytes that were sent.",
      "Check whether a load balancer sends the PROXY protocol, which the service does not support (nginx: proxy_protocol " +
        "on; HAProxy: send-proxy in server), and turn it off.",
    );
  }
  return found;
}

/** The status of the response to an ordinary request, or undefined if there is none. */
async function answerToGet(
  target: Target,
  pathname: string,
  tls: TlsOptions,
  outer: AbortSignal,
): Promise<number | undefined> {
  try {
    return await within(BODY_WAIT * 2, outer, async (signal) => {
      await using connection = target.secure
        ? await connectTls(target.endpoint, { ...tlsOptions(target), ...tls }, signal)
        : await connectTcp(target.endpoint, signal);
      const request = `GET ${pathname} HTTP/1.1\r\nHost: ${target.url.host}\r\nConnection: close\r\n\r\n`;
      await connection.write(new TextEncoder().encode(request), signal);
      const head = await readHead(connection, signal);
      return "status" in head ? head.status : undefined;
    });
  } catch (error) {
    throwIfLocal(error);
    return undefined;
  }
}

function explainSilence(waited: number): Finding {
  return finding(
    "upgrade-timeout",
    "error",
    `The server did not answer the upgrade request within ${formatWait(waited)}.`,
    "Check whether the service hangs; behind a proxy, check the upstream service. --timeout sets a longer wait.",
  );
}

function explainError(message: string, requestsClientCertificate: boolean): Finding {
  if (isMissingCertificate(message, requestsClientCertificate)) return certificateRequired(message);
  return finding(
    "upgrade-cut",
    "error",
    `The connection ended before the server answered the upgrade request (${message}).`,
    "Check the service's log at this time.",
  );
}

function explainNoResponse(
  connection: RawConnection,
  { kind, bytes }: NoResponse,
  requestsClientCertificate: boolean,
): Finding {
  const message = connection.error?.message ?? "";
  const isAlert = /alert/i.test(message);
  if (isAlert && isMissingCertificate(message, requestsClientCertificate)) return certificateRequired(message);
  if (kind === "closed") {
    return finding(
      "upgrade-cut",
      "error",
      `The server closed the connection without answering the upgrade request${
        message === "" ? "" : ` (${message})`
      }.` +
        (requestsClientCertificate && !isAlert ? MAY_REQUIRE_CERTIFICATE : ""),
      "Check the service's log at this time. A web application firewall also causes this.",
    );
  }
  // nginx forwards a TLS alert of its upstream as an HTTP/0.9 response.
  if (bytes[0] === 21 && bytes[1] === 3) return tlsOnBothHops("The response to the upgrade request is a TLS alert.");
  if (latin1Text(bytes).startsWith("PRI * HTTP/2") || isHttp2Settings(bytes)) {
    return finding(
      "upgrade-http2",
      "error",
      "The response to the upgrade request is HTTP/2, although the request was HTTP/1.1.",
      "Make the server use HTTP/1.1 when ALPN selected it: a WebSocket handshake is HTTP/1.1.",
    );
  }
  return finding(
    "upgrade-not-http",
    "error",
    `The response to the upgrade request is not HTTP: ${quote(latin1Text(bytes.subarray(0, 60)))}.`,
    "Use the port and path of the WebSocket service or its proxy.",
  );
}

/** Whether bytes begin with an HTTP/2 SETTINGS frame: its length below 64 KiB, type 4, stream 0 (RFC 9113 section 4.1). */
function isHttp2Settings(bytes: Uint8Array): boolean {
  return bytes.length >= 9 && bytes[0] === 0 && bytes[3] === 4 && bytes.subarray(5, 9).every((byte) => byte === 0);
}

/** Reports headers of a 101 response that clients must refuse. */
async function inspectResponse(
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
      `The status is 101, but clients must refuse the response: ${wrong.join("; ")}.`,
      "Use a WebSocket library for the handshake, and make sure that no cache or proxy changes the response.",
    ));
  }
  for (const { kind, detail } of problems) {
    if (kind === "extension") {
      findings.push(finding(
        "extension-not-offered",
        "error",
        `The server selected the extension ${quote(detail)}, which was not offered: clients must fail.`,
        "Make the server select only extensions that the client offers, and check whether a proxy caches a response.",
      ));
    }
    if (kind === "subprotocol") {
      findings.push(finding(
        "subprotocol-not-offered",
        "error",
        `The server selected the subprotocol ${quote(detail)}, which was not offered: clients must fail.`,
        offered.length === 0
          ? "Make the server select a subprotocol only if one is offered. To use this one, offer it with --subprotocol."
          : "Make the server select one of those offered.",
      ));
    }
  }
  const none = !head.headers.has("sec-websocket-protocol");
  if (none && offered.length > 0) {
    findings.push(finding(
      "subprotocol-missing",
      "warning",
      `The subprotocol ${offered.join(", ")} was offered but the server selected none: browsers then fail.`,
      "Make the server select one of those offered, or offer none.",
    ));
  }
  return findings;
}
