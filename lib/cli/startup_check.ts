/**
 * The service asks itself what `check` would ask it: the probes up to TLS, so that no app sees a connection.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Service } from "../service/running_service.ts";
import type { DevelopmentTlsMaterial } from "../tls/development.ts";

/** How long it may take, ms. */
const TIMEOUT = 5_000;

/**
 * Probes the service's own address and logs what is a warning or an error. Never throws; without
 * --allow-sys it is silent.
 * @param signal when the service stops: what is then found says nothing
 */
export async function selfCheck(service: Service, log: Logger, signal: AbortSignal): Promise<void> {
  const { addr, material, url } = service;
  if (!("hostname" in addr) || material === undefined) return;
  try {
    // Reading the public roots takes all of --allow-sys (measured: no narrower form is taken).
    if ((await Deno.permissions.query({ name: "sys" })).state !== "granted") return;
    // Loaded when it is needed: a service that starts does not wait for it.
    const { runCheck } = await import("../check/run_check.ts");
    const authority = (material as Partial<DevelopmentTlsMaterial>).authority;
    const any = addr.hostname === "0.0.0.0" ? "127.0.0.1" : addr.hostname === "::" ? "::1" : addr.hostname;
    const { observations } = await runCheck({
      url,
      timeout: TIMEOUT,
      connectTo: { hostname: any, port: addr.port },
      upgrade: false,
      ...(authority ? { ca: [authority.toString()] } : {}),
    }, { signal });
    if (signal.aborted) return;
    const known = new Set(material.findings.map(({ code }) => code));
    for (const { code, level, fact, remedy } of observations) {
      if (known.has(code) || (level !== "warning" && level !== "error")) continue;
      log.warn(`self-check: ${fact} ${remedy ?? ""}`.trim(), { code });
    }
  } catch (error) {
    log.debug("the self-check failed", { error: messageOf(error) });
  }
}
