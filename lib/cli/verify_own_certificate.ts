/**
 * Connects to the service as a client, and logs why its certificate is not accepted.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { RunningService } from "../service/running_service.ts";
import type { DevelopmentTlsMaterial } from "../tls/development_certificate.ts";

/** The time limit of each step, ms. */
const TIMEOUT = 5_000;

/**
 * Makes a TLS connection to the service's own address, with the host name that clients use. If it fails, runs the probes
 * of `check` up to TLS, and logs their warnings and errors. No connection reaches the app. The probes are loaded only
 * after a failure, because they need 11 MB of memory (measured). Never throws.
 * @param signal aborted when the service stops; findings are then discarded
 */
export async function verifyOwnCertificate(service: RunningService, log: Logger, signal: AbortSignal): Promise<void> {
  const { addr, material, url } = service;
  if (!("hostname" in addr) || material === undefined) return;
  const authority = (material as Partial<DevelopmentTlsMaterial>).authority;
  const ca = authority ? [authority.toString()] : [];
  const hostname = addr.hostname === "0.0.0.0" ? "127.0.0.1" : addr.hostname === "::" ? "::1" : addr.hostname;
  const endpoint = { hostname, port: addr.port };
  try {
    const failure = await tryHandshake(endpoint, new URL(url).hostname, ca, signal);
    if (failure === undefined || signal.aborted) return;
    const known = new Set(material.findings.map(({ code }) => code));
    if (/UnknownIssuer/.test(failure) && UNKNOWN_ISSUER.some((code) => known.has(code))) return;
    // Reading the public roots requires --allow-sys without a restriction (measured).
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

/** Findings about the certificate files that already explain an unknown issuer. */
const UNKNOWN_ISSUER = ["chain-incomplete", "certificate-self-signed"];

/**
 * Tries a TLS handshake that trusts the public roots and `caCerts`.
 * @returns the error, or undefined if the handshake succeeded
 */
async function tryHandshake(
  endpoint: { readonly hostname: string; readonly port: number },
  name: string,
  caCerts: string[],
  signal: AbortSignal,
): Promise<string | undefined> {
  const limited = AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT)]);
  try {
    const tcp = await Deno.connect({ ...endpoint, signal: limited });
    using tls = await Deno.startTls(tcp, { hostname: name.replace(/^\[|\]$/g, ""), caCerts });
    limited.addEventListener("abort", () => tls[Symbol.dispose](), { once: true });
    await tls.handshake();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
