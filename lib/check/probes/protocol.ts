/**
 * What speaks on the port: TLS, plain HTTP, or something else?
 * @module
 */
import { isIP } from "node:net";
import type { Finding } from "../../finding.ts";
import { finding } from "../finding_codes.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { quote } from "../../client/response_text.ts";
import { sendClientHello } from "./server_hello.ts";
import { DEFAULT_TIMEOUT, type Target } from "../check_target.ts";

/** The part of the whole time for which one attempt waits for the first bytes. */
const PATIENCE = 1 / 4;

/** The first bytes of a port. */
type PortReply =
  | { readonly kind: "tls" | "closed" | "silent" }
  | { readonly kind: "http" | "other"; readonly text: string };

/** Compares what the port speaks with what the URL asks for. `matches`: it is worth going on. */
export async function probeProtocol(
  target: Target,
  signal: AbortSignal,
): Promise<{ readonly findings: readonly Finding[]; readonly matches: boolean }> {
  const found = target.secure ? await askedForTls(target, signal) : await askedForPlain(target, signal);
  return { findings: found === undefined ? [] : [found], matches: found === undefined || found.level === "ok" };
}

async function askedForTls(target: Target, signal: AbortSignal): Promise<Finding> {
  const toTls = await replyToHello(target, signal);
  if (toTls.kind === "tls") return finding("speaks-ok", "ok", "TLS");
  const reply = toTls.kind === "http" ? toTls : await replyToGet(target, signal);
  if (reply.kind === "http") {
    return finding(
      "speaks-plain",
      "error",
      `Port ${target.port} speaks plain HTTP or ws, and the URL asks for wss.`,
      `Give the service a certificate, use the port of the proxy that has one, or ask for ws://${target.url.host}${target.url.pathname}.`,
    );
  }
  const clearest = [toTls, reply].find(({ kind }) => kind === "other") ??
    [toTls, reply].find(({ kind }) => kind === "closed") ?? reply;
  return unexpectedReply(target, clearest);
}

async function askedForPlain(target: Target, signal: AbortSignal): Promise<Finding | undefined> {
  const toPlain = await replyToGet(target, signal);
  const complains = toPlain.kind === "http" && /^HTTP\/\S+ 400/.test(toPlain.text) &&
    /https|ssl|tls/i.test(toPlain.text);
  if (toPlain.kind === "http" && !complains) return finding("speaks-ok", "ok", "plain HTTP");
  const toTls = toPlain.kind === "tls" ? toPlain : await replyToHello(target, signal);
  if (toTls.kind === "tls") {
    return finding(
      "speaks-tls",
      "error",
      `Port ${target.port} speaks TLS, and the URL asks for plain ws.`,
      `Ask for wss://${target.url.host}${target.url.pathname}.`,
    );
  }
  // A slow service is not a silent one: the upgrade waits longer.
  return toPlain.kind === "silent" ? undefined : unexpectedReply(target, toPlain);
}

function unexpectedReply(target: Target, reply: PortReply): Finding {
  const asked = target.secure ? "TLS" : "HTTP";
  if (reply.kind === "silent") {
    return finding(
      "speaks-nothing",
      "error",
      `Port ${target.port} accepts connections and never answers, neither to TLS nor to HTTP.`,
      "See whether the service behind it hangs, or whether a load balancer there has no service behind it.",
    );
  }
  if (reply.kind === "closed") {
    return finding(
      "speaks-closed",
      "error",
      `Port ${target.port} accepts connections and closes them without a word.`,
      "See the service's own log; a proxy does this where the service behind it is gone, or where it wants " +
        "the PROXY protocol first.",
    );
  }
  const text = "text" in reply ? reply.text : "";
  return finding(
    "speaks-other",
    "error",
    `Port ${target.port} does not speak ${asked}: it says ${quote(text)}.`,
    "Use the port on which the WebSocket service or its proxy listens.",
  );
}

async function replyToHello(target: Target, outer: AbortSignal): Promise<PortReply> {
  return await askPort(target, outer, async (signal) => {
    const options = { version: "TLS 1.3", either: true, serverName: sniOf(target) } as const;
    const answer = await sendClientHello(target.endpoint, options, signal);
    if (answer.kind === "closed") return answer;
    return answer.kind === "other" ? classify(answer.bytes) : { kind: "tls" };
  });
}

/** The name for SNI: none for an address. */
export function sniOf(target: Target): string | undefined {
  return isIP(target.name) === 0 ? target.name : undefined;
}

async function replyToGet(target: Target, outer: AbortSignal): Promise<PortReply> {
  return await askPort(target, outer, async (signal) => {
    await using connection = await connectTcp(target.endpoint, signal);
    const request = `GET ${target.url.pathname} HTTP/1.1\r\nHost: ${target.url.host}\r\nConnection: close\r\n\r\n`;
    await connection.write(new TextEncoder().encode(request), signal);
    const first = await connection.read(signal);
    if (first === undefined) return { kind: "closed" };
    const reply = classify(first);
    if (reply.kind !== "http") return reply;
    // The sentence that tells of TLS stands in the body, which may come by itself.
    const second = await connection.read(signal).catch(() => undefined);
    return { kind: "http", text: reply.text + latin1(second?.subarray(0, 1024) ?? new Uint8Array(0)) };
  });
}

async function askPort(
  target: Target,
  outer: AbortSignal,
  ask: (signal: AbortSignal) => Promise<PortReply>,
): Promise<PortReply> {
  try {
    return await within((target.options.timeout ?? DEFAULT_TIMEOUT) * PATIENCE, outer, ask);
  } catch (error) {
    return { kind: error instanceof DeadlineError ? "silent" : "closed" };
  }
}

function classify(bytes: Uint8Array): PortReply {
  if ((bytes[0] === 21 || bytes[0] === 22) && (bytes.length < 2 || bytes[1] === 3)) return { kind: "tls" };
  const text = latin1(bytes.subarray(0, 1024));
  return { kind: text.startsWith("HTTP/") ? "http" : "other", text };
}

function latin1(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes);
}
