/**
 * Checks whether a certificate can be obtained by ACME, as far as possible without contacting the authority.
 * @module
 */
import type { AcmeSettings } from "../config/acme_options.ts";
import { messageOf, StartError } from "../errors.ts";
import type { Finding } from "../diagnostic_finding.ts";
import type { Logger } from "../log.ts";
import { type AcmeParts, createAcmeSource } from "./create_certificate_source.ts";

/** Milliseconds for a response from the challenge port. */
const TIMEOUT = 5_000;

/**
 * Inspects the state on disk, the terms of service, the files of the external account and the private authority, the
 * challenge port, and the addresses of each name. Contacts the name server and this machine, but not the authority.
 *
 * Returns the codes of `inspectReach`, and `acme-certificate`, `acme-terms`, `acme-file` and `acme-port`.
 */
export async function inspectAcme(acme: AcmeSettings, hostname: string, log: Logger): Promise<Finding[]> {
  const [{ AcmeStore }, { externalAccount, rootsIn }, { inspectReach }] = await Promise.all([
    import("../tls/acme/acme_store.ts"),
    import("../tls/acme/obtain_certificate.ts"),
    import("../tls/acme/check_reachability.ts"),
  ]);
  const parts = await createAcmeSource(acme, hostname, log);
  const store = new AcmeStore(parts.folder, acme.directory.folder);
  const findings: Finding[] = [];
  const attempt = <T>(code: string, run: () => T): T | undefined => {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      findings.push({ code, level: "error", fact: error.message });
    }
  };
  const { external, caFile } = acme;
  if (external) attempt("acme-file", () => externalAccount(external));
  if (caFile) attempt("acme-file", () => rootsIn(caFile));
  const before = findings.length;
  const current = attempt("acme-certificate", () => store.certificate(acme.names[0]!).load(acme.names));
  if (current !== undefined) {
    const fact = `The certificate is valid until ${current.notAfter.toISOString()}.`;
    findings.push({ code: "acme-certificate", level: "ok", fact });
  } else if (findings.length === before) {
    const fact = `There is no certificate for ${acme.names.join(", ")} yet.`;
    findings.push({ code: "acme-certificate", level: "note", fact });
  }
  if (attempt("acme-file", () => store.account()) === undefined && !acme.agreeTos) {
    // A private authority may have no terms, and only its directory says so.
    const level = caFile === undefined ? "error" : "note";
    const fact = `There is no account at ${acme.directory.title} yet, and the terms of service are not accepted.`;
    findings.push({ code: "acme-terms", level, fact, remedy: "Pass --acme-agree-tos at the first start." });
  }
  const names = await inspectNames(acme, hostname, parts, inspectReach);
  // With a certificate the service starts anyway. Only the renewal would fail.
  const asWarning = ({ level, ...rest }: Finding): Finding => ({
    ...rest,
    level: level === "error" ? "warning" : level,
  });
  return [...findings, ...current === undefined ? names : names.map(asWarning)];
}

async function inspectNames(
  { httpPort, names }: AcmeSettings,
  hostname: string,
  { listen, respond }: AcmeParts,
  inspectReach: typeof import("../tls/acme/check_reachability.ts").inspectReach,
): Promise<Finding[]> {
  let port: AsyncDisposable;
  try {
    port = await listen();
  } catch (error) {
    if (await answersAsService(hostname, httpPort)) {
      const fact = `Port ${httpPort} is used by a running service of this program, so the names were not checked.`;
      return [{ code: "acme-port", level: "note", fact }];
    }
    return [{ code: "acme-port", level: "error", fact: messageOf(error) }];
  }
  try {
    return (await Promise.all(names.map((name) => inspectReach(name, { respond })))).flat();
  } finally {
    await port[Symbol.asyncDispose]();
  }
}

async function answersAsService(hostname: string, port: number): Promise<boolean> {
  const { UNKNOWN_TOKEN } = await import("../tls/acme/http_challenges.ts");
  const address = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  const host = address.includes(":") ? `[${address}]` : address;
  const signal = new AbortController();
  const timer = setTimeout(() => signal.abort(), TIMEOUT);
  try {
    const url = `http://${host}:${port}/.well-known/acme-challenge/check`;
    return await (await fetch(url, { signal: signal.signal })).text() === UNKNOWN_TOKEN;
  } catch {
    return false;
  } finally {
    clearTimeout(timer);
  }
}
