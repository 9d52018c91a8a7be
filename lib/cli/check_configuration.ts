/**
 * `serve --check`: checks everything that can fail at the start of the service, without listening.
 * @module
 */
import { createAuthenticator } from "../auth/authenticate.ts";
import { checkAdmin } from "../admin/open_admin_listener.ts";
import type { Mode } from "../config/service_mode.ts";
import { StartError } from "../errors.ts";
import type { Finding } from "../diagnostic_finding.ts";
import type { Logger } from "../log.ts";
import { checkSocketAddress } from "../net/listener/accept_loop.ts";
import { checkBroker } from "../service/join_broker.ts";
import { inspectAcme } from "../service/acme_prerequisites.ts";
import { hostnameOf } from "../service/create_certificate_source.ts";
import type { ServiceSettings } from "../service/validate_settings.ts";
import { loadCertificateFiles } from "../tls/certificate_files.ts";
import { write } from "./standard_streams.ts";

/** Checks the configuration, prints the findings, and returns the exit code. */
export async function checkConfiguration(
  { settings, given, checked: { mode } }: ServiceSettings,
  log: Logger,
): Promise<number> {
  await createAuthenticator(settings, { log });
  const { findings: inspected, certificate } = await inspectCertificate(mode, log);
  const { admin } = settings;
  const findings = [
    ...inspected,
    ...await findFailure(() => checkSocketAddress(mode.address)),
    ...admin === undefined ? [] : await findFailure(() => checkAdmin({ ...settings, admin }, log)),
    ...await findFailure(async () => {
      const reason = await checkBroker(settings, given, log);
      const remedy = "With --broker-optional the service starts anyway, and connects when it can.";
      return reason === undefined ? undefined : { level: "warning", fact: `${reason}.`, remedy };
    }),
  ];
  for (const { level, fact, remedy } of findings) {
    write("stdout", `${level.padEnd(8)}${fact} ${remedy ?? ""}`.trim() + "\n");
  }
  if (findings.some(({ level }) => level === "error")) {
    write("stdout", "not sound: correct the errors first\n");
    return 1;
  }
  write("stdout", `sound: mode ${mode.kind}, certificate ${certificate}, app ${settings.app}\n`);
  return 0;
}

type Line = Pick<Finding, "level" | "fact" | "remedy">;

/** Runs a check. Returns its finding, or its StartError as one, so that all errors are reported. */
async function findFailure(check: () => Line | undefined | void | Promise<Line | undefined | void>): Promise<Line[]> {
  try {
    const found = await check();
    return found ? [found] : [];
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return [{ level: "error", fact: error.message }];
  }
}

async function inspectCertificate(
  mode: Mode,
  log: Logger,
): Promise<{ readonly findings: readonly Finding[]; readonly certificate: string }> {
  if (mode.kind === "proxied") return { findings: [], certificate: "none, the proxy terminates TLS" };
  const { certificate } = mode;
  switch (certificate.kind) {
    case "development":
      return { findings: [], certificate: "the development certificate" };
    case "acme": {
      const { acme } = certificate;
      const findings = await inspectAcme(acme, hostnameOf(mode), log);
      return { findings, certificate: `for ${acme.names.join(", ")} from ${acme.directory.title}` };
    }
    case "files": {
      const { findings, file, names, notAfter } = loadCertificateFiles(certificate.files);
      const until = notAfter.toISOString().slice(0, 10);
      return { findings, certificate: `${file} for ${names.join(", ")} until ${until}` };
    }
  }
}
