/**
 * Checks whether current clients accept a certificate's key, signature and key usage.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { type Finding, finding } from "../../diagnostic_finding.ts";
import { derChildren, derOid, readDer } from "./der.ts";
import { certificateTitle, EXTENSION, type Fields, readFields } from "./certificate_fields.ts";
import { isSelfIssued } from "./find_issuer.ts";

const SERVER_AUTH = "1.3.6.1.5.5.7.3.1";
const ANY_USAGE = "2.5.29.37.0";

/** Extensions that clients process when they are critical (RFC 5280 section 4.2, RFC 7633). */
const KNOWN_EXTENSIONS: ReadonlySet<string> = new Set([
  ...["2.5.29.14", "2.5.29.15", "2.5.29.17", "2.5.29.18", "2.5.29.19", "2.5.29.30", "2.5.29.31", "2.5.29.32"],
  ...["2.5.29.33", "2.5.29.35", "2.5.29.36", "2.5.29.37", "2.5.29.46", "2.5.29.54", EXTENSION.tlsFeature],
  ...[EXTENSION.authorityInfo, "1.3.6.1.5.5.7.1.11"],
]);

const WEAK_SIGNATURES: Readonly<Record<string, string>> = {
  "1.2.840.113549.1.1.4": "md5",
  "1.2.840.113549.1.1.5": "sha1",
  "1.2.840.10045.4.1": "sha1",
  "1.2.840.10040.4.3": "sha1",
  "1.3.14.3.2.29": "sha1",
};

/** Checks the key and the signature of one certificate of a path. */
export function inspectStrength(certificate: X509Certificate, isLeaf: boolean, steps: number): Finding[] {
  const fields = readFields(certificate);
  const what = `${isLeaf ? "The certificate" : "The chain's certificate"} ${certificateTitle(certificate)}`;
  if (fields === undefined) {
    const remedy = "Use a new certificate.";
    return [
      finding(
        "certificate-unreadable",
        "warning",
        `${what} does not have the structure that RFC 5280 requires.`,
        remedy,
      ),
    ];
  }
  const found: Finding[] = [];
  const weak = WEAK_SIGNATURES[fields.signature];
  // The signature of a root is not checked: clients trust the root itself.
  if (weak !== undefined && (steps === 1 || !isSelfIssued(certificate))) {
    const fact = `${what} is signed with ${weak.toUpperCase().replace("SHA1", "SHA-1")}, which browsers refuse.`;
    found.push(finding(`signature-${weak}`, "warning", fact, "Use a certificate that is signed with SHA-256."));
  }
  const { type, label, bits } = fields.key;
  const least = type === "EC" ? 256 : type === "RSA" || type === "RSA-PSS" ? 2048 : 0;
  const remedy = isLeaf
    ? "Create a new key (EC P-256, or RSA of 2048 bits or more) and request a certificate for it."
    : "Use another authority.";
  if (bits !== undefined && bits < least) {
    const fact = `${what} has an ${label} key. Clients refuse ${type} keys under ${least} bits.`;
    found.push(finding("key-too-short", isLeaf ? "error" : "warning", fact, remedy));
  } else if (isLeaf && !["EC P-256", "EC P-384"].includes(label) && type !== "RSA") {
    const fact = `${what} has a key of type ${label}, which browsers do not accept.`;
    found.push(finding("key-unusual", "warning", fact, remedy));
  }
  return found;
}

/** Checks whether the certificate is for servers, and whether it requires something that Deno does not support. */
export function inspectUse(leaf: X509Certificate): Finding[] {
  const fields = readFields(leaf);
  const found: Finding[] = [];
  const usages = fields && extendedUsages(fields);
  if (usages && !usages.includes(SERVER_AUTH) && usages.includes(ANY_USAGE)) {
    found.push(finding(
      "usage-any",
      "warning",
      `The certificate ${
        certificateTitle(leaf)
      } allows any use (anyExtendedKeyUsage) but does not list TLS servers: OpenSSL, Deno ` +
        "and others refuse it.",
      "Use a certificate with the extended key usage serverAuth.",
    ));
  } else if (usages && !usages.includes(SERVER_AUTH)) {
    const fact = `The certificate ${
      certificateTitle(leaf)
    } is not for servers (its extended key usage lacks serverAuth).`;
    found.push(finding("usage-not-server", "error", fact, "Use a certificate for TLS servers."));
  }
  if (leaf.ca && !isSelfIssued(leaf)) {
    found.push(finding(
      "certificate-is-authority",
      "warning",
      `The certificate ${
        certificateTitle(leaf)
      } is a CA certificate (by its basic constraints). Firefox, Deno and others refuse ` +
        "it as a server certificate.",
      "Use an end-entity certificate (basicConstraints=CA:FALSE).",
    ));
  }
  if (fields !== undefined && !maySignHandshake(fields)) {
    found.push(finding(
      "usage-no-signature",
      "warning",
      `The key usage of the certificate ${
        certificateTitle(leaf)
      } does not allow digital signatures, which TLS 1.3 and every ` +
        "ECDHE suite require: Chrome, Edge and Android refuse it (ERR_SSL_KEY_USAGE_INCOMPATIBLE).",
      "Use a certificate with the key usage digitalSignature (openssl: keyUsage=digitalSignature), or without key usage.",
    ));
  }
  if (fields?.extensions.has(EXTENSION.tlsFeature)) {
    found.push(finding(
      "must-staple",
      "warning",
      `The certificate ${
        certificateTitle(leaf)
      } requires OCSP stapling, which Deno does not support: Firefox may refuse it.`,
      "Use a certificate without must-staple, or terminate TLS in a proxy that staples.",
    ));
  }
  return found;
}

/** Checks whether the chain's issuers may issue for servers, and whether clients support every critical extension. */
export function inspectExtensions(path: readonly X509Certificate[]): Finding[] {
  const found: Finding[] = [];
  path.forEach((certificate, at) => {
    const fields = readFields(certificate);
    // Clients trust their own copy of a root.
    if (fields === undefined || (at > 0 && isSelfIssued(certificate))) return;
    const usages = extendedUsages(fields);
    if (at > 0 && usages && !usages.includes(SERVER_AUTH) && !usages.includes(ANY_USAGE)) {
      found.push(finding(
        "issuer-not-for-servers",
        "error",
        `The chain's certificate ${
          certificateTitle(certificate)
        } must not issue certificates for servers (its extended key usage lacks ` +
          "serverAuth).",
        "Use an authority that may issue certificates for TLS servers.",
      ));
    }
    const unknown = [...fields.critical].filter((id) => !KNOWN_EXTENSIONS.has(id));
    if (unknown.length > 0) {
      found.push(finding(
        "extension-unknown",
        "error",
        `The certificate ${certificateTitle(certificate)} has a critical extension that clients do not support ` +
          `(${unknown.join(", ")}), so they must refuse the certificate (RFC 5280 section 4.2).`,
        "Use a certificate without that extension, or with the extension not critical.",
      ));
    }
  });
  return found;
}

/** Whether the key may sign (RFC 8446 section 4.4.2.2): no key usage, or one with digitalSignature, its first bit. */
function maySignHandshake(fields: Fields): boolean {
  const extension = fields.extensions.get(EXTENSION.keyUsage);
  try {
    // The first byte of a BIT STRING counts its unused bits.
    return extension === undefined || ((readDer(extension).content[1] ?? 0) & 0x80) !== 0;
  } catch {
    return true;
  }
}

function extendedUsages(fields: Fields): string[] | undefined {
  const extension = fields.extensions.get(EXTENSION.extendedKeyUsage);
  try {
    return extension && derChildren(readDer(extension)).map(derOid);
  } catch {
    return undefined;
  }
}
