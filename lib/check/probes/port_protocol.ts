/**
 * What the port speaks: TLS, plain HTTP, something else, or nothing without the PROXY protocol.
 * @module
 */
import { isIP } from "node:net";
import type { Finding } from "../../finding.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { DeadlineError } from "../../client/deadline.ts";
import { latin1Text } from "../../client/opening_handshake.ts";
import { quote } from "../../client/printable_text.ts";
import { writeClientHello } from "./client_hello.ts";
import { awaitReply, SHORTEST_SILENCE } from "./await_reply.ts";
import { DEFAULT_TIMEOUT, type Target } from "../check_target.ts";

/** The part of the check's whole time for which one attempt waits for the first bytes. */
const PATIENCE = 1 / 4;

/** How a port answers one attempt. */
type PortReply =
  | { readonly kind: "tls" | "closed" | "silent" }
  | { readonly kind: "http" | "other"; readonly text: string };

/** The first bytes of both versions of the PROXY protocol, for a connection that stands for no other client. */
const PROXY_HEADERS = [
  new TextEncoder().encode("PROXY UNKNOWN\r\n"),
  new Uint8Array([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a, 0x20, 0x00, 0x00, 0x00]),
];

/**
 * Compares what the port speaks with what the URL asks for. `matches`: the next steps make sense.
 * @throws {DeadlineError} if the signal ended it too early to conclude anything
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
  const toTls = await ask(target, clientHello(target), signal);
  if (toTls.kind === "tls") return finding("protocol-ok", "ok", "TLS");
  const toPlain = toTls.kind === "http" ? toTls : await ask(target, getRequest(target), signal);
  if (toPlain.kind === "http") {
    const { host, pathname } = target.url;
    return finding(
      "protocol-plain",
      "error",
      `Port ${target.port} speaks plain HTTP or ws, and the URL asks for wss.`,
      `Give the service a certificate, use the port of the proxy that has one, or ask for ws://${host}${pathname}.`,
    );
  }
  const replies = [toTls, toPlain];
  const clearest = replies.find(({ kind }) => kind === "other") ?? replies.find(({ kind }) => kind === "closed");
  if (clearest === undefined && performance.now() - start < SHORTEST_SILENCE) throw tooEarly();
  return await explainReply(target, clearest ?? toPlain, signal);
}

async function expectPlain(target: Target, signal: AbortSignal): Promise<Finding | undefined> {
  const toPlain = await ask(target, getRequest(target), signal);
  const wantsTls = toPlain.kind === "http" && /^HTTP\/\S+ 400/.test(toPlain.text) &&
    /https|ssl|tls/i.test(toPlain.text);
  if (toPlain.kind === "http" && !wantsTls) return finding("protocol-ok", "ok", "plain HTTP");
  const toTls = toPlain.kind === "tls" ? toPlain : await ask(target, clientHello(target), signal);
  if (toTls.kind === "tls") {
    return finding(
      "protocol-tls",
      "error",
      `Port ${target.port} speaks TLS, and the URL asks for plain ws.`,
      `Ask for wss://${target.url.host}${target.url.pathname}.`,
    );
  }
  // A slow service is not a silent one: the upgrade waits longer.
  return toPlain.kind === "silent" ? undefined : await explainReply(target, toPlain, signal);
}

function tooEarly(): DeadlineError {
  return new DeadlineError("the check's time ended too early to call the port silent");
}

async function explainReply(target: Target, reply: PortReply, signal: AbortSignal): Promise<Finding> {
  const asked = target.secure ? "TLS" : "HTTP";
  if (reply.kind === "other") {
    return finding(
      "protocol-unknown",
      "error",
      `Port ${target.port} does not speak ${asked}: it says ${quote(reply.text)}.`,
      "Use the port on which the WebSocket service or its proxy listens.",
    );
  }
  if (await wantsProxyHeader(target, signal)) {
    return finding(
      "proxy-protocol-required",
      "error",
      `Port ${target.port} answers only connections that begin with a PROXY protocol header: a load balancer is meant ` +
        "to stand in front of it.",
      "Connect through that load balancer; or, for direct clients, turn the PROXY protocol off on this port (nginx: " +
        "proxy_protocol in listen; HAProxy: accept-proxy in bind).",
    );
  }
  if (reply.kind === "silent") {
    return finding(
      "protocol-silent",
      "error",
      `Port ${target.port} accepts connections and never answers, neither to TLS nor to HTTP.`,
      "See whether the service behind it hangs, or whether a load balancer there has no service behind it.",
    );
  }
  return finding(
    "protocol-closed",
    "error",
    `Port ${target.port} accepts connections and closes them without a word.`,
    "See the service's own log; a proxy does this where the service behind it is gone, and a firewall where it does " +
      "not allow this address.",
  );
}

/** Whether the port speaks what the URL asks for as soon as a PROXY protocol header comes first. */
async function wantsProxyHeader(target: Target, signal: AbortSignal): Promise<boolean> {
  const request = target.secure ? clientHello(target) : getRequest(target);
  for (const header of PROXY_HEADERS) {
    try {
      const { kind } = await ask(target, new Uint8Array([...header, ...request]), signal, PATIENCE / 2);
      if (kind === (target.secure ? "tls" : "http")) return true;
    } catch (error) {
      if (!(error instanceof DeadlineError)) throw error;
      // What is known without this attempt is enough.
      return false;
    }
  }
  return false;
}

/** The name for SNI: none for an address. */
export function sniOf(target: Target): string | undefined {
  return isIP(target.name) === 0 ? target.name : undefined;
}

function clientHello(target: Target): Uint8Array {
  const serverName = sniOf(target);
  return writeClientHello({ version: "TLS 1.3", either: true, ...serverName !== undefined && { serverName } });
}

function getRequest(target: Target): Uint8Array {
  const { pathname, host } = target.url;
  return new TextEncoder().encode(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
}

/** Sends bytes on a connection of their own and reads what comes first. */
async function ask(
  target: Target,
  bytes: Uint8Array,
  outer: AbortSignal,
  share: number = PATIENCE,
): Promise<PortReply> {
  outer.throwIfAborted();
  const patience = (target.options.timeout ?? DEFAULT_TIMEOUT) * share;
  try {
    return await awaitReply<PortReply>(patience, outer, async (signal) => {
      await using connection = await connectTcp(target.endpoint, signal);
      await connection.write(bytes, signal);
      const first = await connection.read(signal);
      if (first === undefined) return { kind: "closed" };
      const reply = classify(first);
      if (reply.kind !== "http") return reply;
      // The sentence about TLS is in the body, which may come in a packet of its own.
      const second = await connection.read(signal).catch(() => undefined);
      return { kind: "http", text: reply.text + latin1Text(second?.subarray(0, 1024) ?? new Uint8Array(0)) };
    }, () => ({ kind: "silent" }));
  } catch (error) {
    if (error instanceof DeadlineError) throw error;
    return { kind: "closed" };
  }
}

function classify(bytes: Uint8Array): PortReply {
  if ((bytes[0] === 21 || bytes[0] === 22) && (bytes.length < 2 || bytes[1] === 3)) return { kind: "tls" };
  const text = latin1Text(bytes.subarray(0, 1024));
  return { kind: text.startsWith("HTTP/") ? "http" : "other", text };
}
