/**
 * The certificate source that a mode asks for. What reads and makes certificates is loaded only where it is used.
 * @module
 */
import { join } from "node:path";
import type { AcmeSettings } from "../config/acme_options.ts";
import type { DirectMode, Mode } from "../config/service_mode.ts";
import type { Logger } from "../log.ts";
import type { AcmeSource } from "../tls/acme/acme_source.ts";
import type { CertificateSource } from "../tls/certificate_source.ts";
import { VERSION } from "../version.ts";

/** Where ACME keeps its state, under the folder of certificates. */
const ACME_FOLDER = "acme";

/** A source, and what the service tells it. */
export interface ServiceCertificate {
  readonly source: CertificateSource;
  /** The same, where it is one that obtains certificates. */
  readonly acme: AcmeSource | undefined;
  /** The service listens on this port: plain HTTP may be redirected to it. */
  readonly listening: (port: number) => void;
}

/** The source of a mode's certificate; undefined in proxied mode, which has none. */
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

/** What obtains certificates, with its port; nothing is opened or asked before the source is used. */
export interface AcmeParts {
  /** Where its state lies. */
  readonly folder: string;
  readonly source: AcmeSource;
  readonly redirectTo: (port: number) => void;
  /** Opens the challenge port. @throws {StartError} it is taken or forbidden */
  readonly listen: () => Promise<AsyncDisposable>;
  /** Answers for a token there until the returned function is called. */
  readonly respond: (token: string, answer: string) => () => void;
}

/**
 * Puts a source and its challenge port together.
 * @param certificates the folder of certificates, in which ACME has its own
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

/** The address that the service binds. */
export function hostnameOf({ address }: DirectMode): string {
  return address.transport === "tcp" ? address.hostname : "0.0.0.0";
}
