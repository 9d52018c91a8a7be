/**
 * The certificate chain as the server sends it. lib/tls reports what is wrong with it.
 * @module
 */
import { X509Certificate } from "node:crypto";
import type { Finding } from "../../finding.ts";
import { inspectChain } from "../../tls/x509/inspect_chain.ts";
import { publicIssuer } from "../../tls/x509/issuer.ts";
import { readCertificates } from "../../tls/certificate_files.ts";
import type { Version } from "./client_hello.ts";
import { finding } from "../finding_codes.ts";
import { within } from "../../client/deadline.ts";
import { sendClientHello } from "./server_hello.ts";
import { sniOf } from "./protocol.ts";
import type { Target } from "../check_target.ts";

const DEADLINE = 5000;

/** What the handshake showed, where there was one. */
export interface Presented {
  /** DER, leaf first. */
  readonly chain: readonly Uint8Array<ArrayBuffer>[];
  /** Why the runtime does not trust it, as an OpenSSL code. */
  readonly verifyError: string | undefined;
}

/** What the chain says. */
export interface Inspected {
  readonly findings: readonly Finding[];
  /** Whether it leads to a root that every client has; undefined where it could not be read. */
  readonly isPublic?: boolean;
}

/**
 * Inspects the chain. Where no handshake was possible (TLS 1.0, or a key or suite that TLS here does not take), the
 * chain is read from a handshake of our own, in which it goes in plain below TLS 1.3.
 */
export async function probeChain(
  target: Target,
  presented: Presented | undefined,
  offered: readonly Version[],
  signal: AbortSignal,
): Promise<Inspected> {
  const ders = presented?.chain ?? await chainInPlain(target, offered, signal);
  if (ders.length === 0) {
    const fact = "No handshake showed the certificate chain, so it was not examined.";
    return { findings: [finding("chain-unread", "note", fact)] };
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
    return { findings: [found] };
  }
  return {
    findings: judgeChain(target, chain, presented),
    isPublic: chain.some((one) => publicIssuer(one) !== undefined),
  };
}

function judgeChain(target: Target, chain: readonly X509Certificate[], presented: Presented | undefined): Finding[] {
  const options = {
    host: target.name,
    authorities: (target.options.ca ?? []).flatMap((pem) => readCertificates(new TextEncoder().encode(pem), "--ca")),
  };
  const trusts = presented !== undefined && presented.verifyError === undefined;
  const findings = inspectChain(chain, trusts ? { ...options, trusted: true } : options);
  if (findings.some(isBad)) return findings.map(withAdvice);
  // What nobody could name, and still the runtime does not trust it.
  if (presented?.verifyError !== undefined) return inspectChain(chain, { ...options, trusted: false }).map(withAdvice);
  if (findings.length > 0) return findings;
  const days = Math.floor((Date.parse(chain[0]!.validTo) - Date.now()) / 86_400_000);
  return [finding("chain-ok", "ok", `whole and trusted, for ${target.name}, ${days} days left`)];
}

function isBad({ level }: Finding): boolean {
  return level === "warning" || level === "error";
}

/** What helps from outside, beyond what helps with the files. */
function withAdvice(found: Finding): Finding {
  const authority: readonly string[] = ["certificate-self-signed", "chain-incomplete", "issuer-untrusted"];
  const time: readonly string[] = ["certificate-expired", "certificate-expires-soon"];
  const advice = authority.includes(found.code)
    ? "To check as a client that trusts a private root: --ca FILE."
    : time.includes(found.code)
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
    const answer = await within(DEADLINE, outer, (signal) => sendClientHello(target.endpoint, options, signal));
    return answer.kind === "hello" ? answer.chain : [];
  } catch {
    return [];
  }
}
