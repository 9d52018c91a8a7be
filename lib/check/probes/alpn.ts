/**
 * The handshake that a WebSocket client makes: http/1.1 by ALPN, and what the server says to it.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { messageOf } from "../../errors.ts";
import { finding } from "../finding_codes.ts";
import { connectTls } from "../../client/raw_connection.ts";
import { within } from "../../client/deadline.ts";
import { quote } from "../../client/response_text.ts";
import { certificateWanted, wantsCertificate } from "./http_status.ts";
import { type Target, tlsOptions } from "../check_target.ts";
import type { Presented } from "./certificate_chain.ts";

const DEADLINE = 5000;

/** What one handshake showed; no `presented` where none was possible. */
export interface TlsHandshake {
  readonly findings: readonly Finding[];
  readonly presented?: Presented;
  /** Why none was possible. */
  readonly failure?: string;
  /** A connection for the upgrade needs this, where the server refuses ALPN. */
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
    "Let the server or proxy offer http/1.1 too, beside h2.",
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
        "Let the server or proxy choose among what the client offers (RFC 7301).",
      );
    return { findings: [found], presented: { chain, verifyError }, alpn };
  });
}

/** A handshake that fails though a version was agreed on, and nothing else said why. */
export function explainFailure(failure: string): Finding {
  if (wantsCertificate(failure)) return certificateWanted(failure);
  return finding(
    "handshake-failed",
    "warning",
    `The TLS handshake fails here: ${quote(failure)}; so it will for clients with like demands (Deno, Rust programs).`,
    "See the server's error log, and whether its certificate has a key and a signature that clients of today take.",
  );
}

/** A resumed session shows the chain of the time when it began, which may have been renewed since. */
async function freshChain(target: Target, alpn: readonly string[], signal: AbortSignal): Promise<Presented["chain"]> {
  await using connection = await connectTls(target.endpoint, { ...tlsOptions(target), alpn, ca: [] }, signal);
  return connection.chain;
}
