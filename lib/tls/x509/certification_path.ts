/**
 * Builds the certification path of a server certificate from the other certificates of its chain (RFC 4158, RFC 5280 section 6).
 * A leaf can have several paths: an authority may have an expired and a renewed certificate, or certificates of two
 * roots. Clients search for a valid path, so a bad certificate matters only if no valid path avoids it.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { EXTENSION, readFields } from "./certificate_fields.ts";
import { derChildren, derInteger, readDer, TAG } from "./der.ts";
import { isIssuedBy, isSelfIssued } from "./find_issuer.ts";

/** Why a certificate cannot be part of a valid path. */
export type PathProblemKind = "expired" | "not-yet-valid" | "not-authority" | "path-too-long";

/** A certificate above the leaf, and why it makes the path invalid. */
export interface PathProblem {
  readonly certificate: X509Certificate;
  readonly kind: PathProblemKind;
}

/** A certificate that no valid path needs. */
export interface UnneededCertificate {
  readonly certificate: X509Certificate;
  /** Undefined if only certificates below it are bad. */
  readonly kind?: PathProblemKind;
}

/** The best path, and the other certificates. Every given certificate is in one of the four lists. */
export interface CertificationPath {
  /** The leaf, then the issuer of each one before it, as far as the issuers were given. A given root is the last. */
  readonly path: readonly X509Certificate[];
  /** Problems of the path above the leaf; empty if it is valid. The dates of the leaf are not checked here. */
  readonly problems: readonly PathProblem[];
  /** How many certificates of the path a client needs to reach a known root; the path's length if no root is known. */
  readonly needed: number;
  /** Steps of other valid paths: cross-certificates that some clients need. They belong after the path. */
  readonly alternatives: readonly X509Certificate[];
  /** Certificates above the leaf that no valid path needs, each with its own problem, if any. */
  readonly unneeded: readonly UnneededCertificate[];
  /** Certificates that are not above the leaf. */
  readonly unrelated: readonly X509Certificate[];
  /** Whether a certificate was given more than once. */
  readonly repeated: boolean;
  /** Whether the path's certificates were given in the path's order (RFC 8446 section 4.4.2: the leaf first). */
  readonly inOrder: boolean;
}

/** Options of {@link buildPath}. */
export interface PathOptions {
  /** The certificate to begin with. Default: the first. */
  readonly leaf?: X509Certificate;
  /** Default: the current time. */
  readonly now?: Date;
  /** Whether a root that clients trust issued the certificate. Default: no root is known. */
  readonly isAnchored?: (certificate: X509Certificate) => boolean;
  /** Whether a client verified the chain: every path without a problem then counts as valid. Default false. */
  readonly verified?: boolean;
}

/** The largest number of certificates that are examined; further ones are ignored. */
export const MAX_CHAIN_LENGTH = 32;
/** The largest number of steps tried, because a malicious chain can have very many paths. */
const MAX_STEPS = 2000;

/** One way up from the leaf. */
interface Candidate {
  readonly path: readonly X509Certificate[];
  readonly problems: readonly PathProblem[];
  readonly anchored: boolean;
  readonly valid: boolean;
  /** Whether no given certificate issued the last one, or the last one is a root. */
  readonly complete: boolean;
}

/**
 * Builds the best path. A valid path comes before an invalid one, then one to a known root, then the longer one (old
 * clients may lack the newer root), then the order given.
 *
 * A path may also end below an expired certificate, because clients that have the issuer as a root ignore it. With a
 * known root that is certain. Otherwise (a private authority) such an end is valid only above an intermediate: no
 * client accepts a leaf whose only issuer has expired.
 */
export function buildPath(certificates: readonly X509Certificate[], options: PathOptions = {}): CertificationPath {
  const { isAnchored = () => false, now = new Date(), verified = false } = options;
  const seen = new Map(certificates.slice(0, MAX_CHAIN_LENGTH).map((one) => [one.fingerprint256, one]));
  const repeated = seen.size < Math.min(certificates.length, MAX_CHAIN_LENGTH);
  const first = options.leaf ?? certificates[0];
  if (first === undefined) {
    return {
      path: [],
      problems: [],
      needed: 0,
      alternatives: [],
      unneeded: [],
      unrelated: [],
      repeated,
      inOrder: true,
    };
  }
  seen.set(first.fingerprint256, first);
  const all = [...seen.values()];
  const candidates = findPaths(first, all, { isAnchored, now, verified });
  const best = candidates.reduce((chosen, one) => isBetter(one, chosen) ? one : chosen);
  const rest = new Set(all);
  const take = (one: X509Certificate) => rest.delete(one);
  best.path.forEach(take);
  const alternatives = candidates.flatMap(({ valid, path }) => valid ? path.filter(take) : []);
  const problems = new Map(candidates.flatMap((one) => one.problems).map((one) => [one.certificate, one]));
  const unneeded = [...rest].filter((one) => candidates.some(({ path }) => path.includes(one)))
    .map((certificate): UnneededCertificate => problems.get(certificate) ?? { certificate });
  unneeded.forEach(({ certificate }) => take(certificate));
  const given = all.filter((one) => best.path.includes(one));
  const anchor = best.path.findIndex(isAnchored);
  return {
    path: best.path,
    problems: best.problems,
    needed: anchor < 0 ? best.path.length : anchor + 1,
    alternatives,
    unneeded,
    unrelated: [...rest],
    repeated,
    inOrder: all[0] === first && given.every((one, at) => one === best.path[at]),
  };
}

/** Every path up from the leaf, including each one that ends early. */
function findPaths(
  leaf: X509Certificate,
  all: readonly X509Certificate[],
  { isAnchored, now, verified }: Required<Omit<PathOptions, "leaf">>,
): Candidate[] {
  const issuers = new Map<X509Certificate, X509Certificate[]>();
  const issuersOf = (one: X509Certificate): X509Certificate[] => {
    let found = issuers.get(one);
    if (found === undefined) {
      found = isSelfIssued(one) ? [] : all.filter((other) => other !== one && isIssuedBy(one, other));
      issuers.set(one, found);
    }
    return found;
  };
  const candidates: Candidate[] = [];
  const visit = (path: readonly X509Certificate[], problems: readonly PathProblem[], below: boolean): void => {
    if (candidates.length >= MAX_STEPS) return;
    const last = path.at(-1)!;
    const anchored = below || isAnchored(last);
    // A repeated name and key would be a loop (RFC 4158 section 2.4.2).
    const next = issuersOf(last).filter((one) => !path.some((other) => isSameAuthority(one, other)));
    const complete = next.length === 0;
    const found = next.map((issuer) => checkIssuer(issuer, path, now));
    const isEnd = complete || (path.length > 1 && found.some((problem) => problem?.kind === "expired"));
    const valid = problems.length === 0 && (verified || anchored || isEnd);
    candidates.push({ path, problems, anchored, valid, complete });
    next.forEach((issuer, at) => visit([...path, issuer], [...problems, found[at] ?? []].flat(), anchored));
  };
  visit([leaf], [], false);
  return candidates;
}

function isBetter(one: Candidate, other: Candidate): boolean {
  if (one.valid !== other.valid) return one.valid;
  if (one.valid && one.anchored !== other.anchored) return one.anchored;
  if (one.complete !== other.complete) return one.complete;
  if (one.problems.length !== other.problems.length) return one.problems.length < other.problems.length;
  return one.path.length > other.path.length;
}

function isSameAuthority(one: X509Certificate, other: X509Certificate): boolean {
  if (one === other) return true;
  const [left, right] = [readFields(one), readFields(other)];
  return left !== undefined && left.subject === right?.subject && left.publicKey === right.publicKey;
}

/** The problem of an issuer as the next step of a path, if any. */
function checkIssuer(issuer: X509Certificate, path: readonly X509Certificate[], now: Date): PathProblem | undefined {
  const problem = (kind: PathProblemKind): PathProblem => ({ certificate: issuer, kind });
  if (new Date(issuer.validTo) < now) return problem("expired");
  if (new Date(issuer.validFrom) > now) return problem("not-yet-valid");
  // Clients trust their own copy of a root, and many old roots lack these extensions.
  if (isSelfIssued(issuer)) return undefined;
  const { authority, pathLength } = issuingRights(issuer);
  if (!authority) return problem("not-authority");
  const intermediates = path.slice(1).filter((one) => !hasOwnNameAsIssuer(one)).length;
  return pathLength !== undefined && intermediates > pathLength ? problem("path-too-long") : undefined;
}

/** RFC 5280 section 6.1.4 does not count certificates that an authority issued to itself. */
function hasOwnNameAsIssuer(certificate: X509Certificate): boolean {
  const fields = readFields(certificate);
  return fields !== undefined && fields.issuer === fields.subject;
}

/** Basic constraints and key usage (RFC 5280 sections 4.2.1.9 and 4.2.1.3). */
function issuingRights(certificate: X509Certificate): { authority: boolean; pathLength?: number } {
  const extensions = readFields(certificate)?.extensions;
  const constraints = extensions?.get(EXTENSION.basicConstraints);
  const usage = extensions?.get(EXTENSION.keyUsage);
  try {
    if (constraints === undefined) return { authority: false };
    const parts = derChildren(readDer(constraints));
    const isAuthority = parts[0]?.tag === TAG.boolean && parts[0].content[0] !== 0;
    // The BIT STRING's first byte counts unused bits; bit 5 of the next is keyCertSign.
    const maySign = usage === undefined || ((readDer(usage).content[1] ?? 0) & 0x04) !== 0;
    const limit = parts.find(({ tag }) => tag === TAG.integer);
    return { authority: isAuthority && maySign, ...(limit && { pathLength: derInteger(limit) }) };
  } catch {
    return { authority: false };
  }
}
