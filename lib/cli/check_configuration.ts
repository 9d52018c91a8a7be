/**
 * `serve --check`: checks everything that can fail at the start of the service, without listening.
 * @module
 */
import { createAuthenticator } from "../auth/authenticate.ts";
import type { Mode } from "../config/service_mode.ts";
import type { Finding } from "../diagnostic_finding.ts";
import type { Logger } from "../log.ts";
import { inspectAcme } from "../service/acme_prerequisites.ts";
import { hostnameOf } from "../service/create_certificate_source.ts";
import type { ServiceSettings } from "../service/validate_settings.ts";
import { loadCertificateFiles } from "../tls/certificate_files.ts";
import { write } from "./standard_streams.ts";

/** Checks the configuration, prints the findings, and returns the exit code. */
export async function checkConfiguration(
  { settings, checked: { mode } }: ServiceSettings,
  log: Logger,
): Promise<number> {
  await createAuthenticator(settings, { log });
  const { findings, certificate } = await inspectCertificate(mode, log);
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
