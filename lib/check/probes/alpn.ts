/**
 * Probes the TLS handshake of a WebSocket client, which offers http/1.1 by ALPN.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { messageOf } from "../../errors.ts";
import { finding } from "../finding_codes.ts";
import { connectTls } from "../../client/raw_connection.ts";
import { within } from "../../client/deadline.ts";
import { quote } from "../../client/printable_text.ts";
import { certificateRequired, isMissingCertificate } from "./client_certificate.ts";
import { throwIfLocal } from "./local_failure.ts";
import { type Target, tlsOptions } from "../probe_target.ts";
import type { PresentedChain } from "./certificate_chain.ts";

const DEADLINE = 5000;

/** The result of a TLS handshake. */
export interface TlsHandshake {
  readonly findings: readonly Finding[];
  /** Undefined if no handshake succeeded; `failure` is then the error. */
  readonly presented?: PresentedChain;
  readonly failure?: string;
  /** The protocols to offer by ALPN for the upgrade: none if the server refuses http/1.1. */
  readonly alpn: readonly string[];
}

/** Makes a handshake that offers http/1.1 by ALPN. If the server refuses that, makes one without ALPN. */
export async function probeAlpn(target: Target, signal: AbortSignal): Promise<TlsHandshake> {
  const offered = ["http/1.1"];
  try {
    return await performHandshake(target, offered, signal);
  } catch (error) {
    throwIfLocal(error);
    const failure = messageOf(error);
    if (!/NoApplicationProtocol|no_application_protocol/i.test(failure)) {
      return { findings: [], alpn: offered, failure };
    }
  }
  const refused = finding(
    "alpn-refused",
    "error",
    "The server refuses http/1.1 by ALPN, the only protocol that browsers offer for a WebSocket.",
    "Configure the server or proxy to accept http/1.1 in addition to h2 (nginx and Caddy do by default; HAProxy: alpn h2,http/1.1).",
  );
  try {
    return { ...await performHandshake(target, [], signal), findings: [refused] };
  } catch (error) {
    throwIfLocal(error);
    return { findings: [refused], alpn: [], failure: messageOf(error) };
  }
}

async function performHandshake(target: Target, alpn: readonly string[], outer: AbortSignal): Promise<TlsHandshake> {
  return await within(DEADLINE, outer, async (signal) => {
    const options = { ...tlsOptions(target), alpn };
    await using connection = await connectTls(target.endpoint, options, signal);
    const { version, cipher } = connection;
    let { verifyError } = connection;
    const chain = connection.resumed ? await fetchChain(target, alpn, signal) : connection.chain;
    const { ca = [] } = target.options;
    if (ca.length > 0) {
      await using verifier = await connectTls(target.endpoint, { ...options, ca }, signal);
      verifyError = verifier.verifyError;
    }
    const selected = connection.alpn;
    const found = selected === undefined || alpn.includes(selected)
      ? finding("alpn-ok", "ok", `${selected ?? "no ALPN"} (${version}, ${cipher})`)
      : finding(
        "alpn-wrong",
        "error",
        `By ALPN, the server selected ${selected}, but only http/1.1 was offered.`,
        "Configure the server or proxy to select one of the protocols that the client offers (RFC 7301).",
      );
    return { findings: [found], presented: { chain, verifyError }, alpn };
  });
}

/** Explains a handshake that fails after the version was agreed on, when no other probe found the cause. */
export function explainHandshakeFailure(failure: string, requestsClientCertificate: boolean): Finding {
  if (isMissingCertificate(failure, requestsClientCertificate)) return certificateRequired(failure);
  return finding(
    "handshake-failed",
    "warning",
    `The TLS handshake fails: ${
      quote(failure)
    }. It also fails for other clients that use rustls (Deno, Rust programs).`,
    "Check the server's error log, and whether current clients accept its certificate's key and signature.",
  );
}

/** Reads the chain without resumption: a resumed session has the chain of its first handshake, which may be outdated. */
async function fetchChain(
  target: Target,
  alpn: readonly string[],
  signal: AbortSignal,
): Promise<PresentedChain["chain"]> {
  await using connection = await connectTls(target.endpoint, { ...tlsOptions(target), alpn, ca: [] }, signal);
  return connection.chain;
}
