/**
 * Checks whether a certificate could be obtained, as far as possible without contacting the authority.
 * @module
 */
import type { AcmeSettings } from "../config/acme_options.ts";
import { messageOf, StartError } from "../errors.ts";
import type { Finding } from "../finding.ts";
import type { Logger } from "../log.ts";
import { type AcmeParts, createAcmeSource } from "./create_certificate_source.ts";

/** Milliseconds within which the challenge port must answer. */
const TIMEOUT = 5_000;

/**
 * Inspects the state on disk, the terms of service, the files of external account and private authority, the challenge
 * port, and the addresses of each name. Contacts the name server and this machine, but not the authority.
 *
 * Codes, besides those of `inspectReach`: `acme-certificate`, `acme-terms`, `acme-file`, `acme-port`.
 */
export async function inspectAcme(acme: AcmeSettings, hostname: string, log: Logger): Promise<Finding[]> {
  const [{ AcmeStore }, { externalAccount, rootsIn }, { inspectReach }] = await Promise.all([
    import("../tls/acme/acme_store.ts"),
    import("../tls/acme/obtain_certificate.ts"),
    import("../tls/acme/check_reachability.ts"),
  ]);
  const parts = await createAcmeSource(acme, hostname, log);
  const store = new AcmeStore(parts.folder, acme.directory.folder);
  const found: Finding[] = [];
  const attempt = <T>(code: string, run: () => T): T | undefined => {
    try {
      return run();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      found.push({ code, level: "error", fact: error.message });
    }
  };
  const { external, caFile } = acme;
  if (external) attempt("acme-file", () => externalAccount(external));
  if (caFile) attempt("acme-file", () => rootsIn(caFile));
  const there = attempt("acme-certificate", () => store.certificate(acme.names[0]!).load(acme.names));
  found.push(
    there === undefined
      ? { code: "acme-certificate", level: "note", fact: `No certificate for ${acme.names.join(", ")} is there yet.` }
      : {
        code: "acme-certificate",
        level: "ok",
        fact: `A certificate is there until ${there.notAfter.toISOString()}.`,
      },
  );
  if (attempt("acme-file", () => store.account()) === undefined && !acme.agreeTos) {
    // A private authority may have no terms. Only the authority could tell.
    const level = caFile === undefined ? "error" : "note";
    const fact = `There is no account at ${acme.directory.title} yet, and the terms of service are not agreed to.`;
    found.push({ code: "acme-terms", level, fact, remedy: "Give --acme-agree-tos with the first start." });
  }
  const names = await inspectNames(acme, hostname, parts, inspectReach);
  // If there is a certificate, the service starts anyway, and only the renewal would fail.
  const bearable = ({ level, ...rest }: Finding): Finding => ({
    ...rest,
    level: level === "error" ? "warning" : level,
  });
  return [...found, ...there === undefined ? names : names.map(bearable)];
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
      const fact =
        `Port ${httpPort} answers as a service of this program, which is running: its names were not looked at.`;
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
  const any = hostname === "0.0.0.0" ? "127.0.0.1" : hostname === "::" ? "::1" : hostname;
  const host = any.includes(":") ? `[${any}]` : any;
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
