/**
 * Creates the certificate source of a mode. Modules that read or create certificates are loaded only on demand.
 * @module
 */
import { join } from "node:path";
import type { AcmeSettings } from "../config/acme_options.ts";
import type { DirectMode, Mode } from "../config/service_mode.ts";
import type { Logger } from "../log.ts";
import type { AcmeSource } from "../tls/acme/acme_source.ts";
import type { CertificateSource } from "../tls/certificate_source.ts";
import { VERSION } from "../version.ts";

/** The folder of ACME's state, inside the folder of certificates. */
const ACME_FOLDER = "acme";

/** A certificate source and its connection to the service. */
export interface ServiceCertificate {
  readonly source: CertificateSource;
  /** The same source if it obtains certificates by ACME, else undefined. */
  readonly acme: AcmeSource | undefined;
  /** Called with the service's port. Plain HTTP is redirected to it. */
  readonly listening: (port: number) => void;
}

/** Creates the source of a mode's certificate. Returns undefined in proxied mode, which has no certificate. */
export async function createCertificateSource(mode: Mode, log: Logger): Promise<ServiceCertificate | undefined> {
  if (mode.kind === "proxied") return undefined;
  const { certificate } = mode;
  if (certificate.kind === "acme") {
    const { source, redirectTo } = await createAcmeSource(certificate.acme, hostnameOf(mode), log);
    return { source, acme: source, listening: redirectTo };
  }
  const { DevelopmentSource, FilesSource } = await import("../tls/certificate_source.ts");
  const source = certificate.kind === "files" ? new FilesSource(certificate.files, log) : new DevelopmentSource();
  return { source, acme: undefined, listening() {} };
}

/** An ACME source with its challenge port. Nothing is opened or requested before the source is used. */
export interface AcmeParts {
  /** The folder of the ACME state. */
  readonly folder: string;
  readonly source: AcmeSource;
  readonly redirectTo: (port: number) => void;
  /** Opens the challenge port. @throws {StartError} if the port is in use or forbidden */
  readonly listen: () => Promise<AsyncDisposable>;
  /** Answers the challenge of a token until the returned function is called. */
  readonly respond: (token: string, answer: string) => () => void;
}

/**
 * Combines an ACME source with its challenge port.
 * @param certificates the folder of certificates, which contains ACME's folder
 */
export async function createAcmeSource(
  { httpPort, ...acme }: AcmeSettings,
  hostname: string,
  log: Logger,
  certificates = "certs",
): Promise<AcmeParts> {
  const folder = join(certificates, ACME_FOLDER);
  const [{ openChallengeListener }, { AcmeSource }, { HttpChallenges }] = await Promise.all([
    import("./challenge_listener.ts"),
    import("../tls/acme/acme_source.ts"),
    import("../tls/acme/http_challenges.ts"),
  ]);
  const challenges = new HttpChallenges(acme.names);
  const listen = () => openChallengeListener({ hostname, port: httpPort, handle: challenges.handle, log });
  const { respond } = challenges;
  const options = { ...acme, folder, userAgent: `wss/${VERSION}` };
  const source = new AcmeSource(options, { log, listen, respond });
  return { folder, source, redirectTo: (port) => challenges.redirectTo(port), listen, respond };
}

/** The address that the service listens on. */
export function hostnameOf({ address }: DirectMode): string {
  return address.transport === "tcp" ? address.hostname : "0.0.0.0";
}
