/**
 * The service asks itself, as a client, whether its certificate is accepted, and why not.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import type { DevelopmentTlsMaterial } from "../tls/development_certificate.ts";

/** How long it may take, ms. */
const TIMEOUT = 5_000;

/**
 * Makes a TLS connection to the service's own address, by the name that clients use. If that fails, the probes of
 * `check` up to TLS say why, and what is a warning or an error is logged; no app sees a connection. The probes are
 * loaded only then: they would cost every idle service 11 MB (measured). Never throws.
 * @param signal when the service stops: what is then found says nothing
 */
export async function verifyOwnCertificate(service: RunningService, log: Logger, signal: AbortSignal): Promise<void> {
  const { addr, material, url } = service;
  if (!("hostname" in addr) || material === undefined) return;
  const authority = (material as Partial<DevelopmentTlsMaterial>).authority;
  const ca = authority ? [authority.toString()] : [];
  const any = addr.hostname === "0.0.0.0" ? "127.0.0.1" : addr.hostname === "::" ? "::1" : addr.hostname;
  const endpoint = { hostname: any, port: addr.port };
  try {
    const refusal = await refusalOf(endpoint, new URL(url).hostname, ca, signal);
    if (refusal === undefined || signal.aborted) return;
    const known = new Set(material.findings.map(({ code }) => code));
    if (/UnknownIssuer/.test(refusal) && UNKNOWN_ISSUER.some((code) => known.has(code))) return;
    // Reading the public roots takes all of --allow-sys (measured: no narrower form is taken).
    if ((await Deno.permissions.query({ name: "sys" })).state !== "granted") return;
    const { runCheck } = await import("../check/run_check.ts");
    const { observations } = await runCheck({ url, timeout: TIMEOUT, connectTo: endpoint, upgrade: false, ca }, {
      signal,
    });
    if (signal.aborted) return;
    for (const { code, level, fact, remedy } of observations) {
      if (known.has(code) || (level !== "warning" && level !== "error")) continue;
      log.warn(`self-check: ${fact} ${remedy ?? ""}`.trim(), { code });
    }
  } catch (error) {
    log.debug("the self-check failed", { error: messageOf(error) });
  }
}

/** Findings about the files that say already why a client does not know the issuer. */
const UNKNOWN_ISSUER = ["chain-incomplete", "certificate-self-signed"];

/** Why a client that trusts the public roots and these authorities refuses; undefined if it completes a handshake. */
async function refusalOf(
  endpoint: { readonly hostname: string; readonly port: number },
  name: string,
  caCerts: string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const bound = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]);
  try {
    const tcp = await Deno.connect({ ...endpoint, signal: bound });
    using tls = await Deno.startTls(tcp, { hostname: name.replace(/^\[|\]$/g, ""), caCerts });
    bound.addEventListener("abort", () => tls[Symbol.dispose](), { once: true });
    await tls.handshake();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
