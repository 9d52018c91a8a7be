/**
 * Inspects the certificate chain that the server sends. lib/tls finds its faults.
 * @module
 */
import { X509Certificate } from "node:crypto";
import type { Finding } from "../../diagnostic_finding.ts";
import { inspectChain } from "../../tls/x509/inspect_chain.ts";
import { issuerUrl, publicIssuer } from "../../tls/x509/find_issuer.ts";
import { issuerTitle } from "../../tls/x509/certificate_fields.ts";
import { ORGANISATION } from "../../tls/issue_certificate.ts";
import { readCertificates } from "../../tls/certificate_files.ts";
import type { Version } from "./client_hello.ts";
import { finding } from "../finding_codes.ts";
import { within } from "../../client/deadline.ts";
import { throwIfLocal } from "./local_failure.ts";
import { sendClientHello } from "./server_hello.ts";
import { sniName } from "./port_protocol.ts";
import type { ChainEvidence, Target } from "../probe_target.ts";

const DEADLINE = 5000;

/** The chain that a server presented in a handshake. */
export interface PresentedChain {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array<ArrayBuffer>[];
  /** The reason why the runtime does not trust the chain, as an OpenSSL error code. */
  readonly verifyError: string | undefined;
}

/**
 * Inspects the chain. If the runtime could not make a handshake (TLS 1.0, or an unsupported key or suite), the chain is
 * read from a handmade handshake instead: below TLS 1.3 it is unencrypted.
 */
export async function probeChain(
  target: Target,
  presented: PresentedChain | undefined,
  offered: readonly Version[],
  signal: AbortSignal,
): Promise<ChainEvidence> {
  const ders = presented?.chain ?? await readUnencryptedChain(target, offered, signal);
  if (ders.length === 0) {
    const fact = "The certificate chain could not be read from any handshake, so it was not inspected.";
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
      "Make sure that the server's certificate file holds complete PEM certificates.",
    );
    return { findings: [found], certificates: [] };
  }
  return {
    findings: inspectPresentedChain(target, chain, presented),
    certificates: chain,
    isPublic: chain.some((one) => publicIssuer(one) !== undefined),
  };
}

function inspectPresentedChain(
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
  const forClients = (list: readonly Finding[]) => list.map((found) => adjustForClients(found, chain, target));
  if (findings.some(isProblem)) return forClients(findings);
  // The runtime does not trust the chain, although no rule found a fault.
  if (presented?.verifyError !== undefined) return forClients(inspectChain(chain, { ...options, trusted: false }));
  if (findings.length > 0) return findings;
  const days = Math.floor((Date.parse(chain[0]!.validTo) - Date.now()) / 86_400_000);
  return [finding("chain-ok", "ok", `complete and trusted, valid for ${target.name}, ${days} days left`)];
}

function isProblem({ level }: Finding): boolean {
  return level === "warning" || level === "error";
}

const UNTRUSTED: readonly string[] = ["certificate-self-signed", "chain-incomplete", "issuer-untrusted"];
const EXPIRING: readonly string[] = ["certificate-expired", "certificate-expires-soon"];

/**
 * Changes a finding of lib/tls to what it means for clients. lib/tls allows for a private authority that the operator
 * chose on purpose. Clients do not trust it by default, so the check reports an error.
 */
function adjustForClients(found: Finding, chain: readonly X509Certificate[], target: Target): Finding {
  const { code, fact, remedy = "" } = found;
  if (UNTRUSTED.includes(code) && chain.some(isDevelopment) && target.options.ca === undefined) {
    return finding(
      "issuer-development",
      "error",
      "The certificate is a development certificate of wss. Clients do not trust its authority by default.",
      "Check with that authority: --ca certs/ca.pem (in the service's folder; `wss cert` prints how to make clients trust " +
        "it). For public use, the service needs a certificate from a public authority.",
    );
  }
  if (code === "certificate-self-signed" || code === "name-missing") return withAdvice({ ...found, level: "error" });
  // Desktop browsers fetch a missing intermediate if a certificate contains its URL.
  if (code === "chain-incomplete" && chain.every((one) => issuerUrl(one) === undefined)) {
    const end = fact.indexOf(": desktop browsers");
    return withAdvice({
      code,
      level: "error",
      fact: `${
        end < 0 ? fact : fact.slice(0, end)
      }, and no client can fetch it: only clients that have it can connect.`,
      remedy,
    });
  }
  return withAdvice(found);
}

function isDevelopment(certificate: X509Certificate): boolean {
  return issuerTitle(certificate).includes(ORGANISATION);
}

/** Adds advice for a check from outside to the remedy of lib/tls, which is about the files. */
function withAdvice(found: Finding): Finding {
  const advice = UNTRUSTED.includes(found.code)
    ? "To check as a client that trusts a private root: --ca FILE."
    : EXPIRING.includes(found.code)
    ? "If it is renewed already, the server still sends the old one: reload the server. " +
      `The date of this machine is ${new Date().toISOString().slice(0, 10)}.`
    : undefined;
  return advice === undefined ? found : { ...found, remedy: `${found.remedy} ${advice}` };
}

async function readUnencryptedChain(
  target: Target,
  offered: readonly Version[],
  outer: AbortSignal,
): Promise<readonly Uint8Array<ArrayBuffer>[]> {
  const version = offered.filter((one) => one !== "TLS 1.3").at(-1);
  if (version === undefined) return [];
  const serverName = sniName(target);
  const options = { version, certificates: true, ...(serverName === undefined ? {} : { serverName }) };
  try {
    const reply = await within(DEADLINE, outer, (signal) => sendClientHello(target.endpoint, options, signal));
    return reply.kind === "hello" ? reply.chain : [];
  } catch (error) {
    throwIfLocal(error);
    return [];
  }
}
