/**
 * Inspects a certificate chain and reports all problems at once, as a pure function. The certificate loader uses it for
 * the operator's files, `check` for the chain of any server.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { type Finding, finding } from "../../diagnostic_finding.ts";
import { certificateTitle, issuerTitle } from "./certificate_fields.ts";
import { addressIn, coversHost, type Names, namesOf } from "./certificate_names.ts";
import { inspectExtensions, inspectStrength, inspectUse } from "./certificate_strength.ts";
import { buildPath, type CertificationPath, MAX_CHAIN_LENGTH, type PathProblemKind } from "./certification_path.ts";
import { inspectNameConstraints } from "./name_constraints.ts";
import { isIssuedBy, isSelfIssued, issuerUrl, publicIssuer, publicRootsKnown } from "./find_issuer.ts";

/** Options of {@link inspectChain}. */
export interface InspectOptions {
  /** Default: the current time. */
  readonly now?: Date;
  /** The host that clients request: a DNS name or an address. If undefined, names are not compared. */
  readonly host?: string;
  /**
   * Whether a client that fetches no further certificates found a path to a trusted root, dates and names apart.
   * Undefined: not tried.
   */
  readonly trusted?: boolean;
  /** Roots to treat as known in addition to the public ones, such as the development authority. */
  readonly authorities?: readonly X509Certificate[];
  /** The server's own certificate. Default: the first, as TLS sends it. */
  readonly leaf?: X509Certificate;
  /** Whether the caller serves the path that was built, whatever order the certificates have. Default false. */
  readonly sorted?: boolean;
}

/** The findings about a chain, and the certificates to serve. */
export interface Inspection {
  readonly findings: readonly Finding[];
  /** The path, leaf first, then the steps of alternative paths. Certificates that no valid path needs are left out. */
  readonly served: readonly X509Certificate[];
}

const DAY = 86_400_000;
/** With fewer days left, a certificate causes a warning, and a development certificate is renewed. */
export const RENEWAL_DAYS = 30;
/** Apple's systems refuse a server certificate that is valid for more days, whoever issued it. */
const MAX_VALIDITY_DAYS = 825;

/**
 * Inspects a chain as a server sends it. Never throws, whatever the certificates contain. An error is reported only if
 * no valid path is left. Codes: `certificate-missing`, `certificate-unreadable`, `certificate-expired`,
 * `certificate-not-yet-valid`, `certificate-expires-soon` (under 30 days), `validity-too-long`,
 * `certificate-self-signed`, `chain-incomplete`, `chain-order`, `chain-root-included`, `chain-unneeded`,
 * `chain-unrelated`, `chain-repeated`, `issuer-not-authority`, `path-too-long`, `issuer-untrusted`, `signature-sha1`,
 * `signature-md5`, `key-too-short`, `key-unusual`, `usage-not-server`, `usage-any`, `usage-no-signature`,
 * `certificate-is-authority`, `issuer-not-for-servers`, `extension-unknown`, `must-staple`, `name-missing`,
 * `name-mismatch`, `name-not-permitted`, `ip-instead-of-domain`.
 */
export function inspectChain(chain: readonly X509Certificate[], options: InspectOptions = {}): Finding[] {
  return [...inspectAndSort(chain, options).findings];
}

/** Inspects a chain like {@link inspectChain}, and returns the certificates to serve. */
export function inspectAndSort(chain: readonly X509Certificate[], options: InspectOptions = {}): Inspection {
  const leaf = options.leaf ?? chain[0];
  if (leaf === undefined) {
    const found = finding("certificate-missing", "error", "There is no certificate.", "Give the server a certificate.");
    return { findings: [found], served: [] };
  }
  const { now = new Date(), authorities = [] } = options;
  const isAnchored = (one: X509Certificate) =>
    authorities.some((authority) => isIssuedBy(one, authority)) || publicIssuer(one) !== undefined;
  const built = buildPath(chain, { leaf, now, isAnchored, verified: options.trusted === true });
  const { path } = built;
  const findings = [
    // Clients ignore the dates above a known root; the path has no expired certificate below it.
    ...path.slice(0, built.needed).flatMap((certificate, at) => inspectDates(certificate, at === 0, now)),
    ...inspectIssuers(built),
    ...inspectTrust(path, isAnchored, options.trusted),
    ...inspectOrder(built, chain.length, options.sorted ?? false),
    ...path.flatMap((certificate, at) => inspectStrength(certificate, at === 0, path.length)),
    ...inspectUse(leaf),
    // A client that verified the chain checked them, perhaps along another path.
    ...options.trusted === true ? [] : [...inspectNameConstraints(path), ...inspectExtensions(path)],
    ...inspectNames(leaf, options.host),
  ];
  return { findings, served: [...path, ...built.alternatives] };
}

/** The validity of a certificate. Dates that cannot be parsed are NaN. */
export function validityOf(certificate: X509Certificate): { from: Date; to: Date } {
  return { from: new Date(certificate.validFrom), to: new Date(certificate.validTo) };
}

function inspectDates(certificate: X509Certificate, isLeaf: boolean, now: Date): Finding[] {
  const { from, to } = validityOf(certificate);
  const what = `${isLeaf ? "The certificate" : "The chain's certificate"} ${certificateTitle(certificate)}`;
  const renew = isLeaf ? "Renew it." : "Renew the certificate, and use the chain of the new one.";
  const left = (to.getTime() - now.getTime()) / DAY;
  if (left < 0) return [finding("certificate-expired", "error", `${what} expired on ${day(to)}.`, renew)];
  if (from > now) {
    return [finding(
      "certificate-not-yet-valid",
      "error",
      `${what} is not valid before ${from.toISOString()}. The time of this machine is ${now.toISOString()}.`,
      "Correct the clock, or wait.",
    )];
  }
  const found: Finding[] = [];
  if (left < RENEWAL_DAYS) {
    const days = Math.floor(left);
    const when = `${day(to)}, in ${days} ${days === 1 ? "day" : "days"}`;
    found.push(finding("certificate-expires-soon", "warning", `${what} expires on ${when}.`, renew));
  }
  const days = Math.round((to.getTime() - from.getTime()) / DAY);
  if (isLeaf && days > MAX_VALIDITY_DAYS) {
    found.push(finding(
      "validity-too-long",
      "warning",
      `${what} is valid for ${days} days. iPhones, iPads and Macs accept at most ${MAX_VALIDITY_DAYS}.`,
      `Use a certificate that is valid for at most ${MAX_VALIDITY_DAYS} days.`,
    ));
  }
  return found;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** Checks whether each issuer of the path may issue. {@link inspectDates} reports dates. */
function inspectIssuers({ path, problems }: CertificationPath): Finding[] {
  return problems.flatMap(({ certificate, kind }) => {
    const child = certificateTitle(path[path.indexOf(certificate) - 1]!);
    if (kind === "not-authority") {
      return [finding(
        "issuer-not-authority",
        "error",
        `The certificate ${child} was issued by ${
          certificateTitle(certificate)
        }, which is not an authority's certificate ` +
          `(its basic constraints or key usage do not allow it to issue).`,
        "Use a certificate that an authority issued.",
      )];
    }
    if (kind === "path-too-long") {
      return [finding(
        "path-too-long",
        "error",
        `The chain has more intermediates below ${
          certificateTitle(certificate)
        } than its path length constraint allows.`,
        "Use an authority higher in the chain, or an intermediate without that constraint.",
      )];
    }
    return [];
  });
}

/** Checks whether clients can follow the path to a root that they trust. */
function inspectTrust(
  path: readonly X509Certificate[],
  known: (certificate: X509Certificate) => boolean,
  trusted: boolean | undefined,
): Finding[] {
  if (trusted === true) return [];
  const [leaf, top] = [path[0]!, path.at(-1)!];
  if (path.length === 1 && isSelfIssued(leaf)) {
    return known(leaf) ? [] : [finding(
      "certificate-self-signed",
      "warning",
      `The certificate ${certificateTitle(leaf)} is self-signed: clients trust it only if configured to.`,
      "Use a certificate from an authority (Let's Encrypt is free), or trust this one on each client.",
    )];
  }
  // Public roots do not sign server certificates directly: a single certificate lacks its intermediate.
  const canReport = path.length === 1 || publicRootsKnown();
  if (!path.some(known) && !isSelfIssued(top) && canReport) {
    const url = issuerUrl(top);
    return [finding(
      "chain-incomplete",
      "warning",
      `The chain ends at ${certificateTitle(top)}, whose issuer ${
        issuerTitle(top)
      } is neither in the chain nor a public root: ` +
        `desktop browsers may fetch it, but Android, WeChat and programs do not.`,
      `Append the certificate of ${issuerTitle(top)}${url === undefined ? "" : ` (${url})`}, which the authority ` +
        `provides as chain or fullchain; if it is a private root, make each client trust it.`,
    )];
  }
  if (trusted !== false) return [];
  return [finding(
    "issuer-untrusted",
    "error",
    `The chain leads to ${path.some(known) ? "a known root" : certificateTitle(top)}, but a client did not accept it.`,
    "Use a certificate from a public authority, or make each client trust this one's root.",
  )];
}

const PROBLEM: Readonly<Record<PathProblemKind, string>> = {
  "expired": "expired",
  "not-yet-valid": "not valid yet",
  "not-authority": "not an authority",
  "path-too-long": "below too many intermediates",
};

function inspectOrder(given: CertificationPath, count: number, sorted: boolean): Finding[] {
  const { path, unrelated, unneeded } = given;
  const found: Finding[] = [];
  const titles = (list: readonly X509Certificate[]) => list.map(certificateTitle).join(", ");
  if (!given.inOrder && sorted) {
    found.push(finding("chain-order", "note", `The certificates are served in the right order: ${titles(path)}.`));
  } else if (!given.inOrder) {
    found.push(finding(
      "chain-order",
      "warning",
      "The chain is in the wrong order; some clients do not sort it.",
      `Put the server's own certificate first and each one's issuer after it: ${titles(path)}.`,
    ));
  }
  if (unneeded.length > 0) {
    const list = unneeded.map(({ certificate, kind }) => {
      const reason = kind === undefined ? "used only by an invalid path" : PROBLEM[kind];
      return `${certificateTitle(certificate)}, issued by ${issuerTitle(certificate)} (${reason})`;
    });
    found.push(finding(
      "chain-unneeded",
      "warning",
      `No valid path needs the certificate ${list.join(" and the certificate ")}${sorted ? "; it is left out" : ""}.`,
      sorted ? "Remove it from the file." : "Remove it from the chain: old clients that try only one path fail.",
    ));
  }
  if (unrelated.length > 0 || count > MAX_CHAIN_LENGTH) {
    const beyond = count > MAX_CHAIN_LENGTH
      ? `${count} certificates were given, only ${MAX_CHAIN_LENGTH} were examined. `
      : "";
    const fact = unrelated.length === 0 ? "" : `Not part of the chain: ${titles(unrelated)}.`;
    found.push(finding("chain-unrelated", "warning", (beyond + fact).trim(), "Remove it from the chain."));
  }
  if (given.repeated) {
    found.push(finding("chain-repeated", "note", "A certificate is in the chain more than once."));
  }
  if (path.length > 1 && isSelfIssued(path.at(-1)!)) {
    const fact =
      `The chain includes its root ${certificateTitle(path.at(-1)!)}: clients have it or do not trust it, so sending ` +
      `it is unnecessary.`;
    found.push(finding("chain-root-included", "note", fact));
  }
  return found;
}

function inspectNames(leaf: X509Certificate, host: string | undefined): Finding[] {
  const names = namesOf(leaf);
  const all = [...names.dns, ...names.addresses];
  if (all.length === 0) {
    return [finding(
      "name-missing",
      "warning",
      `The certificate ${certificateTitle(leaf)} has no subjectAltName, and clients ignore the common name.`,
      "Use a certificate with the host's name as subjectAltName (openssl: -addext subjectAltName=DNS:example.com).",
    )];
  }
  if (host === undefined || coversHost(names, host)) return [];
  return [explainNameMismatch(names, host, all)];
}

function explainNameMismatch(names: Names, host: string, all: readonly string[]): Finding {
  const listed = all.length > 10 ? `${all.slice(0, 10).join(", ")} and ${all.length - 10} more` : all.join(", ");
  if (addressIn(host) !== undefined && names.dns.length > 0) {
    return finding(
      "ip-instead-of-domain",
      "error",
      `The URL contains the address ${host}, but the certificate is for ${listed}.`,
      `Connect by name: ${names.dns[0]}.`,
    );
  }
  return finding(
    "name-mismatch",
    "error",
    `The certificate is for ${listed}, not for ${host}.`,
    `Connect by a name of the certificate, or use a certificate for ${host}.`,
  );
}
