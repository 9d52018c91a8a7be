/**
 * Makes the development authority and its server certificates (RFC 5280, P-256). Loads `@peculiar/x509` only when
 * it creates something, because importing it takes 130 ms.
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { addressIn } from "./x509/certificate_names.ts";

/** A certificate and its private key, both PEM; the key PKCS#8. */
export interface CertificateAndKey {
  readonly cert: string;
  readonly key: string;
}

/** The organisation in every certificate made here, by which the program recognises its own files. */
export const ORGANISATION = "wss development";

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const AUTHORITY_DAYS = 3650;
/** Apple's systems accept at most 825 days. */
const LEAF_DAYS = 397;

/** Makes an authority: valid for ten years, for signing server certificates directly and nothing else. */
export async function createAuthority(now: Date): Promise<CertificateAndKey> {
  const x509 = await importX509();
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  // Each authority has a unique name, so that clients do not confuse it with an older one.
  const tag = crypto.getRandomValues(new Uint8Array(3)).toHex();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=wss development CA ${tag}, O=${ORGANISATION}`,
    notBefore: new Date(now.getTime() - HOUR),
    notAfter: new Date(now.getTime() + AUTHORITY_DAYS * DAY),
    keys,
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { cert: certificate.toString("pem") + "\n", key: await exportKey(keys.privateKey) };
}

/**
 * Makes a server certificate: valid for 397 days, but never longer than its authority.
 * @param names DNS names (with an optional wildcard on the left) and addresses; the first is the common name
 */
export async function issueCertificate(
  authority: CertificateAndKey,
  names: readonly string[],
  now: Date,
): Promise<CertificateAndKey> {
  const x509 = await importX509();
  const issuer = new x509.X509Certificate(authority.cert);
  const issuerEnd = new Date(new X509Certificate(authority.cert).validTo).getTime();
  const keys = await crypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
  const pkcs8 = createPrivateKey(authority.key).export({ type: "pkcs8", format: "der" });
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    // A common name has at most 64 characters (RFC 5280 appendix A); clients read only the alternative names.
    subject: [{ CN: [(names[0] ?? "localhost").slice(0, 64)] }, { O: [ORGANISATION] }],
    issuer: issuer.subject,
    notBefore: new Date(now.getTime() - HOUR),
    notAfter: new Date(Math.min(now.getTime() + LEAF_DAYS * DAY - HOUR, issuerEnd)),
    publicKey: keys.publicKey,
    signingKey: await crypto.subtle.importKey("pkcs8", new Uint8Array(pkcs8), ALGORITHM, false, ["sign"]),
    signingAlgorithm: ALGORITHM,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: addressIn(value) === undefined ? "dns" as const : "ip" as const, value })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { cert: certificate.toString("pem") + "\n", key: await exportKey(keys.privateKey) };
}

async function importX509(): Promise<typeof import("@peculiar/x509")> {
  // The library's dependency injection needs this polyfill and does not import it itself.
  await import("reflect-metadata");
  return await import("@peculiar/x509");
}

/** A serial number of 16 random octets. The first bit is 0 (positive), the second is 1 (full length). */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = bytes[0]! & 0x3f | 0x40;
  return bytes.toHex();
}

async function exportKey(key: CryptoKey): Promise<string> {
  const der = Buffer.from(await crypto.subtle.exportKey("pkcs8", key));
  return createPrivateKey({ key: der, format: "der", type: "pkcs8" })
    .export({ type: "pkcs8", format: "pem" }) as string;
}
