/**
 * The certificate chain as the server sends it. lib/tls reports what is wrong with it.
 * @module
 */
import { X509Certificate } from "node:crypto";
import type { Finding } from "../../finding.ts";
import { inspectChain } from "../../tls/x509/inspect_chain.ts";
import { issuerUrl, publicIssuer } from "../../tls/x509/find_issuer.ts";
import { issuerTitle } from "../../tls/x509/certificate_fields.ts";
import { ORGANISATION } from "../../tls/issue_certificate.ts";
import { readCertificates } from "../../tls/certificate_files.ts";
import type { Version } from "./client_hello.ts";
import { finding } from "../finding_codes.ts";
import { within } from "../../client/deadline.ts";
import { sendClientHello } from "./server_hello.ts";
import { sniOf } from "./port_protocol.ts";
import type { ChainEvidence, Target } from "../check_target.ts";

const DEADLINE = 5000;

/** The chain of a handshake. */
export interface PresentedChain {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array<ArrayBuffer>[];
  /** Why the runtime does not trust it, as an OpenSSL code. */
  readonly verifyError: string | undefined;
}

/**
 * Inspects the chain. Where no handshake was possible (TLS 1.0, or a key or suite that TLS here does not take), the
 * chain is read from a handshake of our own, in which it is unencrypted below TLS 1.3.
 */
export async function probeChain(
  target: Target,
  presented: PresentedChain | undefined,
  offered: readonly Version[],
  signal: AbortSignal,
): Promise<ChainEvidence> {
  const ders = presented?.chain ?? await chainInPlain(target, offered, signal);
  if (ders.length === 0) {
    const fact = "No handshake showed the certificate chain, so it was not examined.";
    return { findings: [finding("chain-unread", "note", fact)], certificates: [] };
  }
  let chain: X509Certificate[];
  try {
    chain = ders.map((der) => new X509Certificate(der));
  } catch {
    const found = finding(
      "certificate-unreadable",
      "error",
      "The server sends a certificate that cannot be read.",
      "See that the server's certificate file holds certificates in PEM, whole.",
    );
    return { findings: [found], certificates: [] };
  }
  return {
    findings: judgeChain(target, chain, presented),
    certificates: chain,
    isPublic: chain.some((one) => publicIssuer(one) !== undefined),
  };
}

function judgeChain(
  target: Target,
  chain: readonly X509Certificate[],
  presented: PresentedChain | undefined,
): Finding[] {
  const options = {
    host: target.name,
    authorities: (target.options.ca ?? []).flatMap((pem) => readCertificates(new TextEncoder().encode(pem), "--ca")),
  };
  const trusted = presented !== undefined && presented.verifyError === undefined;
  const findings = inspectChain(chain, trusted ? { ...options, trusted } : options);
  const advised = (list: readonly Finding[]) => list.map((found) => forClients(found, chain, target));
  if (findings.some(isBad)) return advised(findings);
  // No rule here says why, and still the runtime does not trust it.
  if (presented?.verifyError !== undefined) return advised(inspectChain(chain, { ...options, trusted: false }));
  if (findings.length > 0) return findings;
  const days = Math.floor((Date.parse(chain[0]!.validTo) - Date.now()) / 86_400_000);
  return [finding("chain-ok", "ok", `whole and trusted, for ${target.name}, ${days} days left`)];
}

function isBad({ level }: Finding): boolean {
  return level === "warning" || level === "error";
}

const UNTRUSTED: readonly string[] = ["certificate-self-signed", "chain-incomplete", "issuer-untrusted"];
const OUT_OF_TIME: readonly string[] = ["certificate-expired", "certificate-expires-soon"];

/**
 * The finding as clients meet it. lib/tls reports what an operator may have meant: a private authority, a certificate
 * for clients that were told to trust it. A client that was not told fails on it, and so the check reports an error.
 */
function forClients(found: Finding, chain: readonly X509Certificate[], target: Target): Finding {
  const { code, fact, remedy = "" } = found;
  if (UNTRUSTED.includes(code) && chain.some(isDevelopment) && target.options.ca === undefined) {
    return finding(
      "issuer-development",
      "error",
      "The certificate is a development certificate of wss: only clients that were told to trust its authority accept it.",
      "Check with that authority: --ca certs/ca.pem (in the service's folder; `wss cert` says how clients and systems " +
        "come to trust it). For everybody else the service needs a certificate from a public authority.",
    );
  }
  if (code === "certificate-self-signed" || code === "name-missing") return withAdvice({ ...found, level: "error" });
  // A missing intermediate of a public authority can be fetched, and desktop browsers do that.
  if (code === "chain-incomplete" && chain.every((one) => issuerUrl(one) === undefined)) {
    const end = fact.indexOf(": desktop browsers");
    return withAdvice({
      code,
      level: "error",
      fact: `${
        end < 0 ? fact : fact.slice(0, end)
      }, and no client can fetch it: only clients that have it get through.`,
      remedy,
    });
  }
  return withAdvice(found);
}

function isDevelopment(certificate: X509Certificate): boolean {
  return issuerTitle(certificate).includes(ORGANISATION);
}

/** What helps from outside, beyond what helps with the files. */
function withAdvice(found: Finding): Finding {
  const advice = UNTRUSTED.includes(found.code)
    ? "To check as a client that trusts a private root: --ca FILE."
    : OUT_OF_TIME.includes(found.code)
    ? "If it was renewed already, the server still sends the old one: reload it."
    : undefined;
  return advice === undefined ? found : { ...found, remedy: `${found.remedy} ${advice}` };
}

async function chainInPlain(
  target: Target,
  offered: readonly Version[],
  outer: AbortSignal,
): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const version = offered.filter((one) => one !== "TLS 1.3").at(-1);
  if (version === undefined) return [];
  const serverName = sniOf(target);
  const options = { version, certificates: true, ...(serverName === undefined ? {} : { serverName }) };
  try {
    const reply = await within(DEADLINE, outer, (signal) => sendClientHello(target.endpoint, options, signal));
    return reply.kind === "hello" ? reply.chain : [];
  } catch {
    return [];
  }
}
