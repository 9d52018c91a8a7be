/**
 * How certificates hang together: who issued whom, the order in which TLS sends them, where public trust begins.
 * @module
 */
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { derChildren, hex, readDer } from "./der.ts";
import { EXTENSION, type Fields, fieldsOf } from "./certificate_fields.ts";

/** Certificates put in order. */
export interface SortedChain {
  /** The leaf, then each one's issuer, as far as they are there. A root that was given is the last. */
  readonly path: readonly X509Certificate[];
  /** Those that belong to no step of the path. */
  readonly unrelated: readonly X509Certificate[];
  /** Whether some were given more than once. */
  readonly repeated: boolean;
  /** Whether they were given in the order of the path. */
  readonly inOrder: boolean;
}

/** The most certificates that are looked at: more is no chain, and each step looks at all. */
export const LONGEST_CHAIN = 32;

/**
 * Sorts a chain (RFC 8446 section 4.4.2: the leaf first, each certifying the one before it).
 * @param leaf the one to begin with; default: the first that is no authority's and that issued none of the others
 */
export function sortChain(certificates: readonly X509Certificate[], leaf?: X509Certificate): SortedChain {
  const seen = new Map(certificates.slice(0, LONGEST_CHAIN).map((one) => [one.fingerprint256, one]));
  const all = [...seen.values()];
  const first = leaf ?? leafOf(all);
  if (first === undefined) return { path: [], unrelated: [], repeated: false, inOrder: true };
  const path = [first];
  const rest = new Set(all.filter((one) => one.fingerprint256 !== first.fingerprint256));
  for (;;) {
    const last = path.at(-1)!;
    const next = isSelfIssued(last) ? undefined : [...rest].find((one) => isIssuedBy(last, one));
    if (next === undefined) break;
    rest.delete(next);
    path.push(next);
  }
  const order = all.filter((one) => !rest.has(one));
  return {
    path,
    unrelated: [...rest],
    repeated: all.length < Math.min(certificates.length, LONGEST_CHAIN),
    inOrder: order.every((one, at) => one.fingerprint256 === path[at]!.fingerprint256) && all[0] === order[0],
  };
}

function leafOf(all: readonly X509Certificate[]): X509Certificate | undefined {
  const ends = all.filter((one) => !all.some((other) => other !== one && isIssuedBy(other, one)));
  return ends.find((one) => !one.ca) ?? all.find((one) => !one.ca) ?? ends[0] ?? all[0];
}

/**
 * Whether the parent signed the child: the names agree, the key identifiers where both have them, and the signature.
 * A signature of a kind that cannot be checked here (P-521, RSA over 4096 bits in Deno 2.9.6) is taken on its names.
 */
export function isIssuedBy(child: X509Certificate, parent: X509Certificate): boolean {
  const [lower, upper] = [fieldsOf(child), fieldsOf(parent)];
  if (lower === undefined || upper === undefined || lower.issuer !== upper.subject) return false;
  const [wanted, there] = [authorityKeyId(lower), subjectKeyId(upper)];
  if (wanted !== undefined && there !== undefined && wanted !== there) return false;
  try {
    return child.verify(parent.publicKey);
  } catch {
    return true;
  }
}

/** Whether a certificate names itself as its issuer and carries its own signature. */
export function isSelfIssued(certificate: X509Certificate): boolean {
  return isIssuedBy(certificate, certificate);
}

/**
 * Whether the public roots may be read: Deno 2.9.6 wants `--allow-sys` for its own list. Asked so that nobody is
 * prompted for it.
 */
export function publicRootsKnown(): boolean {
  return Deno.permissions.querySync({ name: "sys", kind: "ca" as "hostname" }).state === "granted";
}

let publicRoots: Map<string, string[]> | undefined;

/**
 * The public root that issued a certificate, of those that Deno ships (Mozilla's); undefined where none did, or
 * they may not be read. Reading the 151 of them takes 7 ms, once.
 */
export function publicIssuer(certificate: X509Certificate): X509Certificate | undefined {
  if (publicRoots === undefined && !publicRootsKnown()) return undefined;
  publicRoots ??= Map.groupBy(rootCertificates, (pem) => fieldsOf(new X509Certificate(pem))?.subject ?? "");
  const candidates = publicRoots.get(fieldsOf(certificate)?.issuer ?? "") ?? [];
  return candidates.map((pem) => new X509Certificate(pem)).find((root) => isIssuedBy(certificate, root));
}

/** Where the issuer's certificate can be fetched, if the certificate says so (authority information access). */
export function issuerUrl(certificate: X509Certificate): string | undefined {
  const extension = fieldsOf(certificate)?.extensions.get(EXTENSION.authorityInfo);
  try {
    for (const entry of extension ? derChildren(readDer(extension)) : []) {
      const [method, place] = derChildren(entry);
      // 1.3.6.1.5.5.7.48.2: caIssuers. Tag 0x86: a URI.
      if (method && place?.tag === 0x86 && hex(method.content) === "2b06010505073002") {
        const url = new TextDecoder().decode(place.content);
        return /^https?:\/\/[\x21-\x7e]{1,200}$/.test(url) ? url : undefined;
      }
    }
  } catch {
    // A damaged extension leads nowhere.
  }
  return undefined;
}

function subjectKeyId(fields: Fields): string | undefined {
  const extension = fields.extensions.get(EXTENSION.subjectKeyId);
  return extension && quiet(() => hex(readDer(extension).content));
}

function authorityKeyId(fields: Fields): string | undefined {
  const extension = fields.extensions.get(EXTENSION.authorityKeyId);
  return extension && quiet(() => {
    const id = derChildren(readDer(extension)).find((part) => part.tag === 0x80);
    return id && hex(id.content);
  });
}

function quiet<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
