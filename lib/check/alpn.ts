/**
 * The handshake that a WebSocket client makes: http/1.1 by ALPN, and what the server says to it.
 * @module
 */
import type { Finding } from "../finding.ts";
import { messageOf } from "../errors.ts";
import { finding } from "./codes.ts";
import { connectTls } from "./connection.ts";
import { within } from "./deadline.ts";
import { type Target, tlsOptions } from "./target.ts";
import type { Presented } from "./chain.ts";

const DEADLINE = 5000;

/** What one handshake showed; no `presented` where none was possible. */
export interface Handshake {
  readonly findings: readonly Finding[];
  readonly presented?: Presented;
  /** A connection for the upgrade needs this, where the server refuses ALPN. */
  readonly alpn: readonly string[];
}

/** Makes a handshake with http/1.1 by ALPN; where the server refuses that, one without ALPN. */
export async function probeAlpn(target: Target, signal: AbortSignal): Promise<Handshake> {
  const asked = ["http/1.1"];
  try {
    return await shake(target, asked, signal);
  } catch (error) {
    if (!/NoApplicationProtocol|no_application_protocol/i.test(messageOf(error))) return { findings: [], alpn: asked };
  }
  const refused = finding(
    "alpn-refused",
    "error",
    "The server refuses http/1.1 by ALPN: a browser's WebSocket offers nothing else.",
    "Let the server or proxy offer http/1.1 too, beside h2.",
  );
  try {
    return { ...await shake(target, [], signal), findings: [refused] };
  } catch {
    return { findings: [refused], alpn: [] };
  }
}

async function shake(target: Target, alpn: readonly string[], outer: AbortSignal): Promise<Handshake> {
  return await within(DEADLINE, outer, async (signal) => {
    const options = { ...tlsOptions(target), alpn };
    await using connection = await connectTls(target.endpoint, options, signal);
    const { version, cipher, chain } = connection;
    let { distrust } = connection;
    const { ca = [] } = target.options;
    if (ca.length > 0) {
      await using judge = await connectTls(target.endpoint, { ...options, ca }, signal);
      distrust = judge.distrust;
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
    return { findings: [found], presented: { chain, distrust }, alpn };
  });
}
