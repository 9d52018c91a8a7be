/**
 * The TLS handshake that a WebSocket client makes: http/1.1 by ALPN.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { finding } from "../finding_codes.ts";
import { connectTls } from "../../client/raw_connection.ts";
import { within } from "../../client/deadline.ts";
import { quote } from "../../client/printable_text.ts";
import { certificateRequired, isCertificateAlert } from "./client_certificate.ts";
import { type Target, tlsOptions } from "../check_target.ts";
import type { PresentedChain } from "./certificate_chain.ts";

const DEADLINE = 5000;

/** What one handshake showed. */
export interface TlsHandshake {
  readonly findings: readonly Finding[];
  /** Undefined where no handshake succeeded; `failure` then says why. */
  readonly presented?: PresentedChain;
  readonly failure?: string;
  /** What to offer by ALPN in the upgrade: nothing where the server refuses http/1.1. */
  readonly alpn: readonly string[];
}

/** Makes a handshake with http/1.1 by ALPN; where the server refuses that, one without ALPN. */
export async function probeAlpn(target: Target, signal: AbortSignal): Promise<TlsHandshake> {
  const asked = ["http/1.1"];
  try {
    return await handshakeWith(target, asked, signal);
  } catch (error) {
    const failure = messageOf(error);
    if (!/NoApplicationProtocol|no_application_protocol/i.test(failure)) return { findings: [], alpn: asked, failure };
  }
  const refused = finding(
    "alpn-refused",
    "error",
    "The server refuses http/1.1 by ALPN: a browser's WebSocket offers nothing else.",
    "Let the server or proxy accept http/1.1 beside h2 (nginx and Caddy do by default; HAProxy: alpn h2,http/1.1).",
  );
  try {
    return { ...await handshakeWith(target, [], signal), findings: [refused] };
  } catch (error) {
    return { findings: [refused], alpn: [], failure: messageOf(error) };
  }
}

async function handshakeWith(target: Target, alpn: readonly string[], outer: AbortSignal): Promise<TlsHandshake> {
  return await within(DEADLINE, outer, async (signal) => {
    const options = { ...tlsOptions(target), alpn };
    await using connection = await connectTls(target.endpoint, options, signal);
    const { version, cipher } = connection;
    let { verifyError } = connection;
    const chain = connection.resumed ? await freshChain(target, alpn, signal) : connection.chain;
    const { ca = [] } = target.options;
    if (ca.length > 0) {
      await using verifier = await connectTls(target.endpoint, { ...options, ca }, signal);
      verifyError = verifier.verifyError;
    }
    const chosen = connection.alpn;
    const found = chosen === undefined || alpn.includes(chosen)
      ? finding("alpn-ok", "ok", `${chosen ?? "no ALPN, which is fine"} (${version}, ${cipher})`)
      : finding(
        "alpn-wrong",
        "error",
        `The server chose ${chosen} by ALPN, and only http/1.1 was offered.`,
        "Let the server or proxy choose among the protocols that the client offers (RFC 7301).",
      );
    return { findings: [found], presented: { chain, verifyError }, alpn };
  });
}

/** A handshake that fails though a version was agreed on, and nothing else said why. */
export function explainHandshakeFailure(failure: string, asksForCertificate: boolean): Finding {
  if (isCertificateAlert(failure) || (asksForCertificate && /alert|reset|closed/i.test(failure))) {
    return certificateRequired(failure);
  }
  return finding(
    "handshake-failed",
    "warning",
    `The TLS handshake fails here: ${
      quote(failure)
    }; so it does for clients with the same demands (Deno, Rust programs).`,
    "See the server's error log, and whether its certificate has a key and a signature that current clients accept.",
  );
}

/** A resumed session shows the chain of the time when it began, which may have been renewed since. */
async function freshChain(
  target: Target,
  alpn: readonly string[],
  signal: AbortSignal,
): Promise<PresentedChain["chain"]> {
  await using connection = await connectTls(target.endpoint, { ...tlsOptions(target), alpn, ca: [] }, signal);
  return connection.chain;
}
