/**
 * Finds out the protocol of the port: TLS, plain HTTP, or another one. Recognises a port that requires the PROXY
 * protocol.
 * @module
 */
import { isIP } from "node:net";
import type { Finding } from "../../diagnostic_finding.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { DeadlineError } from "../../client/deadline.ts";
import { encodeRequest, latin1Text, newKey } from "../../client/opening_handshake.ts";
import { quote } from "../../client/printable_text.ts";
import { writeClientHello } from "./client_hello.ts";
import { awaitReply, MIN_SILENCE } from "./await_reply.ts";
import { throwIfLocal } from "./local_failure.ts";
import { REFUSES_PLAIN_HTTP } from "./response_fingerprints.ts";
import { DEFAULT_TIMEOUT } from "../check_options.ts";
import type { Target } from "../probe_target.ts";

/** How long one attempt waits for the first bytes, as a part of the check's timeout. */
const ATTEMPT_SHARE = 1 / 4;

/** The reply of the port to one attempt. */
type PortReply =
  | { readonly kind: "closed" | "silent" }
  /** `handshake`: whether it is a handshake record, not an alert. */
  | { readonly kind: "tls"; readonly handshake: boolean }
  | { readonly kind: "http" | "other"; readonly text: string };

/** Headers of both versions of the PROXY protocol, for a connection that is not on behalf of a client (UNKNOWN, LOCAL). */
const PROXY_HEADERS = [
  new TextEncoder().encode("PROXY UNKNOWN\r\n"),
  new Uint8Array([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00]),
];

/** Not a PROXY protocol header. A port that serves the scheme after this does not require the header. */
const OTHER_HEADER = new TextEncoder().encode("OTHER UNKNOWN\r\n");

/**
 * Compares the protocol of the port with the URL's scheme. `matches` is false if the next steps are pointless.
 * @throws {DeadlineError} if the signal aborts too early for a conclusion
 * @throws {LocalFailure} if this machine cannot connect
 */
export async function probeProtocol(
  target: Target,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly matches: boolean }> {
  const found = target.secure ? await expectTls(target, signal) : await expectPlain(target, signal);
  return { findings: found === undefined ? [] : [found], matches: found === undefined || found.level === "ok" };
}

async function expectTls(target: Target, signal: AbortSignal): Promise<Finding> {
  const start = performance.now();
  const tlsReply = await sendAndRead(target, clientHello(target), signal);
  if (tlsReply.kind === "tls") return finding("protocol-ok", "ok", "TLS");
  const httpReply = tlsReply.kind === "http" ? tlsReply : await sendRequest(target, signal);
  // The port serves TLS, but not for this ClientHello. The next probe finds out which ones it accepts.
  if (tlsReply.kind !== "http" && httpReply.kind === "http" && isRefusal(httpReply.text, REFUSES_PLAIN_HTTP)) {
    return finding("protocol-ok", "ok", "TLS");
  }
  if (httpReply.kind === "http") {
    const { host, pathname } = target.url;
    return finding(
      "protocol-plain",
      "error",
      `Port ${target.port} serves plain HTTP or ws, but the URL's scheme is wss.`,
      `Give the service a certificate, use the TLS port of its proxy, or use ws://${host}${pathname}.`,
    );
  }
  const replies = [tlsReply, httpReply];
  const clearest = replies.find(({ kind }) => kind === "other") ?? replies.find(({ kind }) => kind === "closed");
  if (clearest === undefined && performance.now() - start < MIN_SILENCE) throw deadlineTooEarly();
  return await explainReply(target, clearest ?? httpReply, signal);
}

async function expectPlain(target: Target, signal: AbortSignal): Promise<Finding | undefined> {
  const httpReply = await sendRequest(target, signal);
  if (httpReply.kind === "http" && !isRefusal(httpReply.text, /\bhttps\b|\bssl\b|\btls\b/i)) {
    return finding("protocol-ok", "ok", "plain HTTP");
  }
  const tlsReply = httpReply.kind === "tls" ? httpReply : await sendAndRead(target, clientHello(target), signal);
  if (tlsReply.kind === "tls") {
    return finding(
      "protocol-tls",
      "error",
      `Port ${target.port} serves TLS, but the URL's scheme is ws.`,
      `Use wss://${target.url.host}${target.url.pathname}.`,
    );
  }
  // The body only mentions TLS.
  if (httpReply.kind === "http") return finding("protocol-ok", "ok", "plain HTTP");
  // The service may only be slow. The upgrade request waits longer.
  return httpReply.kind === "silent" ? undefined : await explainReply(target, httpReply, signal);
}

/** Whether an HTTP response is a 400 with a body that matches. */
function isRefusal(response: string, pattern: RegExp): boolean {
  const [head = "", ...body] = response.split("\r\n\r\n");
  return /^HTTP\/\S+ 400/.test(head) && pattern.test(body.join("\n"));
}

function deadlineTooEarly(): DeadlineError {
  return new DeadlineError("the check's timeout ended too early to report a silent port");
}

async function explainReply(target: Target, reply: PortReply, signal: AbortSignal): Promise<Finding> {
  const expected = target.secure ? "TLS" : "HTTP";
  if (reply.kind === "other") {
    return finding(
      "protocol-unknown",
      "error",
      `Port ${target.port} does not serve ${expected}. Its first bytes: ${quote(reply.text)}.`,
      "Use the port of the WebSocket service or its proxy.",
    );
  }
  if (await requiresProxyHeader(target, signal)) {
    return finding(
      "proxy-protocol-required",
      "error",
      `Port ${target.port} answers only connections that begin with a PROXY protocol header. It is meant for ` +
        "connections from a load balancer.",
      "Connect through that load balancer. For direct clients, turn off the PROXY protocol on this port (nginx: " +
        "proxy_protocol in listen; HAProxy: accept-proxy in bind).",
    );
  }
  if (reply.kind === "silent") {
    return finding(
      "protocol-silent",
      "error",
      `Port ${target.port} accepts connections but answers neither TLS nor HTTP.`,
      "Check whether the service hangs, or a load balancer has no service behind it.",
    );
  }
  return finding(
    "protocol-closed",
    "error",
    `Port ${target.port} accepts connections and closes them without an answer.`,
    "Check the service's log. A proxy without a running service and a firewall that does not allow this address also " +
      "cause this.",
  );
}

/**
 * Whether the port serves the URL's scheme after a PROXY protocol header and only then. An HTTP 400 or a TLS alert proves
 * nothing, because a service that does not know the header answers so.
 */
async function requiresProxyHeader(target: Target, signal: AbortSignal): Promise<boolean> {
  const request = target.secure ? clientHello(target) : getRequest(target);
  const servesAfter = async (header: Uint8Array): Promise<boolean> => {
    const reply = await sendAndRead(target, new Uint8Array([...header, ...request]), signal, ATTEMPT_SHARE / 2);
    return target.secure
      ? reply.kind === "tls" && reply.handshake
      : reply.kind === "http" && !/^HTTP\/\S+ 400/.test(reply.text);
  };
  try {
    for (const header of PROXY_HEADERS) {
      if (await servesAfter(header)) return !await servesAfter(OTHER_HEADER);
    }
  } catch (error) {
    // The finding without this attempt is sufficient.
    if (!(error instanceof DeadlineError)) throw error;
  }
  return false;
}

/** Returns the server name for SNI, or undefined for an IP address. */
export function sniName(target: Target): string | undefined {
  return isIP(target.name) === 0 ? target.name : undefined;
}

function clientHello(target: Target): Uint8Array {
  const serverName = sniName(target);
  return writeClientHello({ version: "TLS 1.3", either: true, ...serverName !== undefined && { serverName } });
}

function getRequest(target: Target): Uint8Array {
  const { pathname, host } = target.url;
  return new TextEncoder().encode(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
}

/** An upgrade request without the options of the check: over wss nothing secret may be sent in plain text. */
function upgradeRequest({ url }: Target): Uint8Array {
  return encodeRequest({ url: new URL(url.pathname, url) }, newKey());
}

/** Sends an HTTP request. Some servers that only serve WebSocket close a connection without an upgrade request. */
async function sendRequest(target: Target, signal: AbortSignal): Promise<PortReply> {
  const reply = await sendAndRead(target, getRequest(target), signal);
  return reply.kind === "closed" ? await sendAndRead(target, upgradeRequest(target), signal) : reply;
}

/** Sends bytes on a new connection and reads the first bytes of the reply. */
async function sendAndRead(
  target: Target,
  bytes: Uint8Array,
  outer: AbortSignal,
  share: number = ATTEMPT_SHARE,
): Promise<PortReply> {
  outer.throwIfAborted();
  const timeout = (target.options.timeout ?? DEFAULT_TIMEOUT) * share;
  try {
    return await awaitReply<PortReply>(timeout, outer, async (signal) => {
      await using connection = await connectTcp(target.endpoint, signal);
      await connection.write(bytes, signal);
      const first = await connection.read(signal);
      if (first === undefined) return { kind: "closed" };
      const reply = classifyReply(first);
      // Nothing follows an accepted upgrade.
      if (reply.kind !== "http" || /^HTTP\/\S+ 101/.test(reply.text)) return reply;
      // The body may mention TLS, and may arrive in a separate packet.
      const second = await connection.read(signal).catch(() => undefined);
      return { kind: "http", text: reply.text + latin1Text(second?.subarray(0, 1024) ?? new Uint8Array(0)) };
    }, () => ({ kind: "silent" }));
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    throwIfLocal(error);
    return { kind: "closed" };
  }
}

function classifyReply(bytes: Uint8Array): PortReply {
  if ((bytes[0] === 21 || bytes[0] === 22) && (bytes.length < 2 || bytes[1] === 3)) {
    return { kind: "tls", handshake: bytes[0] === 22 };
  }
  const text = latin1Text(bytes.subarray(0, 1024));
  return { kind: text.startsWith("HTTP/") ? "http" : "other", text };
}
