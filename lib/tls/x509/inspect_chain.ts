/**
 * Inspection of a certificate chain, pure: what is wrong with it, all of it at once. The loader asks it about the
 * operator's files, `check` about what any server sends.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import type { Finding } from "../../finding.ts";
import {
  isIssuedBy,
  isSelfIssued,
  issuerUrl,
  LONGEST_CHAIN,
  publicIssuer,
  publicRootsKnown,
  sortChain,
} from "./chain_order.ts";
import { issuerTitle, titleOf } from "./certificate_fields.ts";
import { addressIn, coversHost, type Names, namesOf } from "./certificate_names.ts";
import { finding, inspectStrength, inspectUse } from "./certificate_strength.ts";

/** What an inspection may know besides the chain. */
export interface InspectOptions {
  /** Default: the current time. */
  readonly now?: Date;
  /** The host that clients ask for: a DNS name or an address. None: names are not compared. */
  readonly host?: string;
  /**
   * Whether a client that fetches nothing found the way from the chain to a root that it trusts (dates and names
   * apart). Undefined: nobody tried.
   */
  readonly trusted?: boolean;
  /** Roots that count as known besides the public ones: the development authority. */
  readonly authorities?: readonly X509Certificate[];
  /** The server's own certificate. Default: the first, as TLS sends it. */
  readonly leaf?: X509Certificate;
}

const DAY = 86_400_000;
/** A certificate with fewer days left is warned about, and a development certificate renewed. */
export const SOON_DAYS = 30;
/** Apple's systems refuse a server certificate that is valid for longer, whoever issued it. */
const LONGEST_DAYS = 825;

/**
 * Inspects a chain as a server sends it. Never throws on a certificate, however odd. Codes:
 * `certificate-missing`, `certificate-unreadable`, `certificate-expired`, `certificate-not-yet-valid`,
 * `certificate-expires-soon` (under 30 days), `validity-too-long`, `certificate-self-signed`, `chain-incomplete`,
 * `chain-order`, `chain-root-included`, `chain-unrelated`, `chain-repeated`, `issuer-untrusted`, `signature-sha1`,
 * `signature-md5`, `key-too-short`, `key-unusual`, `usage-not-server`, `must-staple`, `name-missing`, `name-mismatch`,
 * `ip-instead-of-domain`.
 */
export function inspectChain(chain: readonly X509Certificate[], options: InspectOptions = {}): Finding[] {
  const leaf = options.leaf ?? chain[0];
  if (leaf === undefined) {
    return [finding("error", "certificate-missing", "There is no certificate.", "Give the server a certificate.")];
  }
  const { path, ...given } = sortChain(chain, leaf);
  const now = options.now ?? new Date();
  return [
    ...path.flatMap((certificate, at) => inspectDates(certificate, at === 0, now)),
    ...inspectTrust(path, options),
    ...inspectShape(path, given, chain.length),
    ...path.flatMap((certificate, at) => inspectStrength(certificate, at === 0, path.length)),
    ...inspectUse(leaf),
    ...inspectNames(leaf, options.host),
  ];
}

/** When a certificate is valid. NaN dates where it does not say so legibly. */
export function validityOf(certificate: X509Certificate): { from: Date; to: Date } {
  return { from: new Date(certificate.validFrom), to: new Date(certificate.validTo) };
}

function inspectDates(certificate: X509Certificate, isLeaf: boolean, now: Date): Finding[] {
  const { from, to } = validityOf(certificate);
  const what = `${isLeaf ? "The certificate" : "The chain's certificate"} ${titleOf(certificate)}`;
  const renew = isLeaf ? "Renew it." : "Renew the certificate, and take the chain that comes with it.";
  const left = (to.getTime() - now.getTime()) / DAY;
  if (left < 0) return [finding("error", "certificate-expired", `${what} expired on ${day(to)}.`, renew)];
  if (from > now) {
    return [finding(
      "error",
      "certificate-not-yet-valid",
      `${what} is not valid before ${from.toISOString()}; it is ${now.toISOString()} here.`,
      "Set the clock right, or wait.",
    )];
  }
  const found: Finding[] = [];
  if (left < SOON_DAYS) {
    const days = Math.floor(left);
    const when = `${day(to)}, in ${days} ${days === 1 ? "day" : "days"}`;
    found.push(finding("warning", "certificate-expires-soon", `${what} expires on ${when}.`, renew));
  }
  const days = Math.round((to.getTime() - from.getTime()) / DAY);
  if (isLeaf && days > LONGEST_DAYS) {
    found.push(finding(
      "warning",
      "validity-too-long",
      `${what} is valid for ${days} days; iPhones, iPads and Macs refuse more than ${LONGEST_DAYS}.`,
      `Make it anew for ${LONGEST_DAYS} days at the most.`,
    ));
  }
  return found;
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}

/** Whether clients can follow the path to a root that they know. */
function inspectTrust(path: readonly X509Certificate[], options: InspectOptions): Finding[] {
  if (options.trusted === true) return [];
  const [leaf, top] = [path[0]!, path.at(-1)!];
  const { authorities = [] } = options;
  const known = (one: X509Certificate) =>
    authorities.some((authority) => isIssuedBy(one, authority)) || publicIssuer(one) !== undefined;
  if (path.length === 1 && isSelfIssued(leaf)) {
    return known(leaf) ? [] : [finding(
      "warning",
      "certificate-self-signed",
      `The certificate ${titleOf(leaf)} is signed by itself: no client trusts it unasked.`,
      "Use a certificate from an authority (Let's Encrypt is free), or trust this one on each client.",
    )];
  }
  // No public root signs server certificates directly: a lone one lacks its intermediate, whatever the roots are.
  const tellable = path.length === 1 || publicRootsKnown();
  if (!path.some(known) && !isSelfIssued(top) && tellable) {
    const url = issuerUrl(top);
    return [finding(
      "warning",
      "chain-incomplete",
      `The chain ends at ${titleOf(top)}, whose issuer ${issuerTitle(top)} is neither in it nor a public root: ` +
        `desktop browsers may find it, Android, WeChat and programs do not.`,
      `Append the certificate of ${issuerTitle(top)}${url === undefined ? "" : ` (${url})`}: the authority hands it ` +
        `out as chain or fullchain; where it is a private root, see that each client trusts it.`,
    )];
  }
  if (options.trusted !== false) return [];
  return [finding(
    "error",
    "issuer-untrusted",
    `The chain leads to ${path.some(known) ? "a known root" : titleOf(top)}, and still did not verify.`,
    "Use a certificate from a public authority, or have each client trust this one's root.",
  )];
}

function inspectShape(
  path: readonly X509Certificate[],
  given: { unrelated: readonly X509Certificate[]; inOrder: boolean; repeated: boolean },
  count: number,
): Finding[] {
  const found: Finding[] = [];
  const titles = (list: readonly X509Certificate[]) => list.map(titleOf).join(", ");
  if (!given.inOrder) {
    found.push(finding(
      "warning",
      "chain-order",
      "The chain is in the wrong order; some clients do not sort it.",
      `Put the server's own certificate first and each one's issuer after it: ${titles(path)}.`,
    ));
  }
  if (given.unrelated.length > 0 || count > LONGEST_CHAIN) {
    const beyond = count > LONGEST_CHAIN ? `${count} certificates were given, and ${LONGEST_CHAIN} looked at. ` : "";
    const fact = given.unrelated.length === 0 ? "" : `Not part of the chain: ${titles(given.unrelated)}.`;
    found.push(finding("warning", "chain-unrelated", (beyond + fact).trim(), "Take out what is no step of the chain."));
  }
  if (given.repeated) {
    found.push(finding("note", "chain-repeated", "A certificate is in the chain more than once."));
  }
  if (path.length > 1 && isSelfIssued(path.at(-1)!)) {
    const fact = `The chain includes its root ${titleOf(path.at(-1)!)}: clients have it or do not trust it, so it is ` +
      `sent for nothing.`;
    found.push(finding("note", "chain-root-included", fact));
  }
  return found;
}

function inspectNames(leaf: X509Certificate, host: string | undefined): Finding[] {
  const names = namesOf(leaf);
  const all = [...names.dns, ...names.addresses];
  if (all.length === 0) {
    return [finding(
      "warning",
      "name-missing",
      `The certificate ${titleOf(leaf)} names no host: it has no subjectAltName, and clients ignore the common name.`,
      "Have it issued with the host's name as subjectAltName (openssl: -addext subjectAltName=DNS:example.com).",
    )];
  }
  if (host === undefined || coversHost(names, host)) return [];
  return [nameFinding(names, host, all)];
}

function nameFinding(names: Names, host: string, all: readonly string[]): Finding {
  const listed = all.length > 10 ? `${all.slice(0, 10).join(", ")} and ${all.length - 10} more` : all.join(", ");
  if (addressIn(host) !== undefined && names.dns.length > 0) {
    return finding(
      "error",
      "ip-instead-of-domain",
      `The address ${host} was asked for, and the certificate is for ${listed}.`,
      `Connect by name: ${names.dns[0]}.`,
    );
  }
  return finding(
    "error",
    "name-mismatch",
    `The certificate is for ${listed}, not for ${host}.`,
    `Connect by a name that it has, or have one issued that names ${host}.`,
  );
}
