/**
 * Reads the fields of a certificate from its DER (RFC 5280 section 4.1) that `node:crypto` does not expose or throws
 * on.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { type Der, derBits, derChild, derChildren, derOid, hex, readDer, TAG } from "./der.ts";
import { escapeControls } from "../../log.ts";

/** A public key's kind and size. */
export interface KeyKind {
  /** `RSA`, `EC`, `Ed25519`, `Ed448`, `RSA-PSS`, or the algorithm's object identifier. */
  readonly type: string;
  /** For people: `RSA 2048`, `EC P-256`. */
  readonly label: string;
  /** The size in bits; undefined if it is not known. */
  readonly bits?: number;
}

/** The fields of one certificate. */
export interface Fields {
  /** Object identifier of the signature's algorithm. */
  readonly signature: string;
  /** The issuer and subject names as DER in hexadecimal, so that names can be compared as text. */
  readonly issuer: string;
  readonly subject: string;
  readonly key: KeyKind;
  /** The subject's public key as DER in hexadecimal, so that keys can be compared as text. */
  readonly publicKey: string;
  /** The extensions by object identifier: the content of the octet string. */
  readonly extensions: ReadonlyMap<string, Uint8Array>;
  /** The critical extensions: a client that does not support one must refuse the certificate. */
  readonly critical: ReadonlySet<string>;
}

/** Object identifiers of the extensions that are read. */
export const EXTENSION = {
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  altName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  authorityKeyId: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  tlsFeature: "1.3.6.1.5.5.7.1.24",
  authorityInfo: "1.3.6.1.5.5.7.1.1",
} as const;

const CURVES: Readonly<Record<string, readonly [label: string, bits: number]>> = {
  "1.2.840.10045.3.1.1": ["P-192", 192],
  "1.3.132.0.33": ["P-224", 224],
  "1.2.840.10045.3.1.7": ["P-256", 256],
  "1.3.132.0.34": ["P-384", 384],
  "1.3.132.0.35": ["P-521", 521],
  "1.3.132.0.10": ["secp256k1", 256],
};

const NAMED: Readonly<Record<string, string>> = {
  "1.3.101.112": "Ed25519",
  "1.3.101.113": "Ed448",
  "1.2.840.113549.1.1.10": "RSA-PSS",
  "1.2.840.10040.4.1": "DSA",
};

/**
 * Reads the fields.
 * @throws {RangeError} if the DER is not that of a certificate
 */
function parseFields(certificate: X509Certificate): Fields {
  const whole = readDer(certificate.raw);
  const parts = derChildren(derChild(whole, 0, TAG.sequence));
  // The version before them is optional.
  const first = parts[0]?.tag === 0xa0 ? 1 : 0;
  const [issuer, subject, spki] = [parts[first + 2], parts[first + 4], parts[first + 5]];
  if (issuer === undefined || subject === undefined || spki === undefined) throw new RangeError("fields are missing");
  const extensions = new Map<string, Uint8Array>();
  const critical = new Set<string>();
  const list = parts.find((part) => part.tag === 0xa3);
  for (const extension of list ? derChildren(derChild(list, 0, TAG.sequence)) : []) {
    const [id, ...rest] = derChildren(extension);
    if (id === undefined || rest.length === 0) continue;
    extensions.set(derOid(id), rest.at(-1)!.content);
    if (rest.length > 1 && rest[0]!.content[0] !== 0) critical.add(derOid(id));
  }
  return {
    signature: derOid(derChild(derChild(whole, 1, TAG.sequence), 0)),
    issuer: hex(issuer.whole),
    subject: hex(subject.whole),
    key: readKeyKind(spki),
    publicKey: hex(spki.whole),
    extensions,
    critical,
  };
}

function readKeyKind(spki: Der): KeyKind {
  const algorithm = derChild(spki, 0, TAG.sequence);
  const id = derOid(derChild(algorithm, 0));
  if (id === "1.2.840.113549.1.1.1") {
    // The first byte of a BIT STRING counts its unused bits.
    const bits = derBits(derChild(readDer(derChild(spki, 1, TAG.bitString).content.subarray(1)), 0, TAG.integer));
    return { type: "RSA", label: `RSA ${bits}`, bits };
  }
  if (id === "1.2.840.10045.2.1") {
    const curve = derChildren(algorithm)[1];
    const oid = curve?.tag === TAG.oid ? derOid(curve) : undefined;
    const [label, bits] = CURVES[oid ?? ""] ?? [oid ?? "with explicit parameters", undefined];
    return { type: "EC", label: `EC ${label}`, bits };
  }
  const type = NAMED[id] ?? id;
  return { type, label: type };
}

const parsed = new WeakMap<X509Certificate, Fields | null>();

/** The fields, or undefined if the certificate does not have the structure that RFC 5280 requires. Parsed once. */
export function readFields(certificate: X509Certificate): Fields | undefined {
  let fields = parsed.get(certificate);
  if (fields === undefined) {
    try {
      fields = parseFields(certificate);
    } catch {
      fields = null;
    }
    parsed.set(certificate, fields);
  }
  return fields ?? undefined;
}

/** The name of a certificate in messages: its common name, or else something that identifies it. */
export function certificateTitle(certificate: X509Certificate): string {
  return title(subjectLines(certificate)) ?? `with serial number ${certificate.serialNumber}`;
}

/** The name of a certificate's issuer in messages. */
export function issuerTitle(certificate: X509Certificate): string {
  return title(lines(() => certificate.issuer)) ?? "without a name";
}

/** The parts of the subject's name, as in `CN=localhost`. */
export function subjectLines(certificate: X509Certificate): string[] {
  return lines(() => certificate.subject);
}

/** `node:crypto` throws on names that it cannot decode. */
function lines(read: () => string | undefined): string[] {
  try {
    return (read() ?? "").split("\n").filter((line) => line !== "");
  } catch {
    return [];
  }
}

function title(parts: readonly string[]): string | undefined {
  const part = parts.find((line) => line.startsWith("CN=")) ?? parts.at(-1);
  return part === undefined ? undefined : `"${escapeControls(part.replace(/^CN=/, "")).slice(0, 100)}"`;
}
