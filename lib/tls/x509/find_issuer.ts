/**
 * Finds the issuer of a certificate: another certificate, itself, or a public root.
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import { rootCertificates } from "node:tls";
import { EXTENSION, type Fields, readFields } from "./certificate_fields.ts";
import { derChildren, hex, readDer } from "./der.ts";

/**
 * Whether the parent issued the child: the names match, the key identifiers match if both have them, and the signature
 * verifies. Deno 2.9.6 cannot verify some kinds of signature (P-521, RSA over 4096 bits): for these, names and
 * identifiers decide.
 */
export function isIssuedBy(child: X509Certificate, parent: X509Certificate): boolean {
  const [lower, upper] = [readFields(child), readFields(parent)];
  if (lower === undefined || upper === undefined || lower.issuer !== upper.subject) return false;
  const [wanted, there] = [authorityKeyId(lower), subjectKeyId(upper)];
  if (wanted !== undefined && there !== undefined && wanted !== there) return false;
  try {
    return child.verify(parent.publicKey);
  } catch {
    return true;
  }
}

/** Whether a certificate names itself as its issuer and is signed with its own key. */
export function isSelfIssued(certificate: X509Certificate): boolean {
  return isIssuedBy(certificate, certificate);
}

/**
 * Whether the public roots may be read: Deno 2.9.6 requires `--allow-sys` for its own list. The permission is queried
 * and never requested, so that no prompt appears.
 */
export function publicRootsKnown(): boolean {
  return Deno.permissions.querySync({ name: "sys", kind: "ca" as "hostname" }).state === "granted";
}

/**
 * The public root (of Mozilla's list, which Deno ships) that issued a certificate. Undefined if none did, or if the
 * list may not be read. Only those of its 151 certificates that contain the issuer's name are parsed: to parse them all
 * takes 20 ms and 10 MB (measured).
 */
export function publicIssuer(certificate: X509Certificate): X509Certificate | undefined {
  const issuer = readFields(certificate)?.issuer;
  if (issuer === undefined || !publicRootsKnown()) return undefined;
  const name = Buffer.from(issuer, "hex").toString("latin1");
  const candidates = rootCertificates.filter((pem) => atob(pem.split("-----")[2] ?? "").includes(name));
  return candidates.map((pem) => new X509Certificate(pem)).find((root) => isIssuedBy(certificate, root));
}

/** The URL of the issuer's certificate, if the certificate has one (authority information access, RFC 5280 4.2.2.1). */
export function issuerUrl(certificate: X509Certificate): string | undefined {
  const extension = readFields(certificate)?.extensions.get(EXTENSION.authorityInfo);
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
    // A damaged extension has no URL.
  }
  return undefined;
}

function subjectKeyId(fields: Fields): string | undefined {
  const extension = fields.extensions.get(EXTENSION.subjectKeyId);
  return extension && undefinedIfDamaged(() => hex(readDer(extension).content));
}

function authorityKeyId(fields: Fields): string | undefined {
  const extension = fields.extensions.get(EXTENSION.authorityKeyId);
  return extension && undefinedIfDamaged(() => {
    const id = derChildren(readDer(extension)).find((part) => part.tag === 0x80);
    return id && hex(id.content);
  });
}

function undefinedIfDamaged<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
