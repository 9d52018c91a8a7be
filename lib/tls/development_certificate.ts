/**
 * The development certificate: created on the first run, reused while it is valid, renewed automatically.
 * @module
 */
import type { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { StartError } from "../errors.ts";
import { canonicalHost, isDnsName } from "../host_name.ts";
import { RENEWAL_DAYS, validityOf } from "./x509/inspect_chain.ts";
import { isIssuedBy } from "./x509/find_issuer.ts";
import { subjectLines } from "./x509/certificate_fields.ts";
import { explainWriteFailure, lockFolder, writeAtomically } from "./atomic_write.ts";
import { type CertificateAndKey, createAuthority, issueCertificate, ORGANISATION } from "./issue_certificate.ts";
import { readPrivateKey } from "./x509/private_key.ts";
import { readCertificates, readFile } from "./certificate_files.ts";
import type { TlsMaterial } from "./loaded_certificate.ts";
import { coversHost, namesOf } from "./x509/certificate_names.ts";
import { encodePem } from "./x509/pem.ts";

/** Options of {@link developmentMaterial}. */
export interface DevelopmentOptions {
  /** The folder of the files. Default `certs`, in the working directory. */
  readonly folder?: string;
  /** The name of this machine. Default: the system's host name, if Deno may read it. */
  readonly hostname?: string;
  /** Additional names and addresses, in the form of {@link canonicalHost}. */
  readonly names?: readonly string[];
  /** Whether to create all files again, including the authority, which clients must then trust again. Default false. */
  readonly force?: boolean;
  /** Default: the current time. */
  readonly now?: Date;
}

/** Development material, and the authority that clients may trust for it. */
export interface DevelopmentTlsMaterial extends TlsMaterial {
  /** The file of the authority's certificate, PEM, which clients must trust. Its key is in the same folder. */
  readonly authorityFile: string;
  readonly authority: X509Certificate;
  /** Whether the certificate is new. */
  readonly made: boolean;
  /** Whether the authority is new too, so that clients must trust it again. */
  readonly authorityMade: boolean;
}

const FILES = { authority: "ca.pem", authorityKey: "ca.key", cert: "cert.pem", key: "key.pem" } as const;
const DAY = 86_400_000;
/** An authority that expires within this time is replaced together with the certificate. */
const AUTHORITY_SPARE_DAYS = 90;
/** The largest number of names of the previous certificate that a renewal keeps. */
const MAX_KEPT_NAMES = 40;

/**
 * Loads the development certificate of the folder, or creates one, with a new authority if necessary. A certificate is
 * reused if its files match, 30 days are left, and it covers localhost, 127.0.0.1, ::1, this machine's name and the
 * additional names. Processes that start at the same moment use the same certificate.
 * @throws {StartError} if the folder cannot be read or written, or has certificates that this program did not make
 */
export async function developmentMaterial(options: DevelopmentOptions = {}): Promise<DevelopmentTlsMaterial> {
  const { folder = "certs", force = false, now = new Date() } = options;
  const required = requiredNames(options);
  const existing = force ? undefined : loadUsableMaterial(folder, required, now);
  if (existing !== undefined) return existing;
  try {
    Deno.mkdirSync(folder, { recursive: true });
    using _lock = await lockFolder(folder);
    // Another process may have created them while this one waited.
    return (force ? undefined : loadUsableMaterial(folder, required, now)) ??
      await createMaterial(folder, required, force, now);
  } catch (error) {
    if (error instanceof StartError) throw error;
    throw new StartError(
      `Cannot make the development certificate in ${folder}: ${explainWriteFailure(error, folder)}`,
      {
        cause: error,
      },
    );
  }
}

function requiredNames({ hostname = systemName(), names = [] }: DevelopmentOptions): string[] {
  const machine = (hostname ?? "").toLowerCase();
  const own = isDnsName(machine) ? [machine] : [];
  return [...new Set(["localhost", ...own, "127.0.0.1", "::1", ...names.map(canonicalHost)])];
}

/** Reads the host name only if that is permitted already: it is not worth a permission prompt. */
function systemName(): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "hostname" });
  return state === "granted" ? Deno.hostname() : undefined;
}

/** The material in the folder, or undefined if it must be renewed. */
function loadUsableMaterial(
  folder: string,
  required: readonly string[],
  now: Date,
): DevelopmentTlsMaterial | undefined {
  const authority = readOwnCertificate(join(folder, FILES.authority));
  const leaf = readOwnCertificate(join(folder, FILES.cert));
  if (authority === undefined || leaf === undefined || !isIssuedBy(leaf, authority)) return undefined;
  // The authority is valid for at least as long, because no certificate outlives it.
  if (!hasDaysLeft(leaf, RENEWAL_DAYS, now)) return undefined;
  const names = namesOf(leaf);
  const all = [...names.dns, ...names.addresses];
  if (!required.every((name) => all.includes(name) || coversHost(names, name))) return undefined;
  const key = readMatchingKey(leaf, join(folder, FILES.key));
  if (key === undefined) return undefined;
  return {
    cert: encodePem("CERTIFICATE", leaf.raw),
    key,
    leaf,
    names: all,
    notAfter: validityOf(leaf).to,
    findings: [],
    file: join(folder, FILES.cert),
    authorityFile: join(folder, FILES.authority),
    authority,
    made: false,
    authorityMade: false,
  };
}

async function createMaterial(
  folder: string,
  required: readonly string[],
  force: boolean,
  now: Date,
): Promise<DevelopmentTlsMaterial> {
  const previous = readOwnCertificate(join(folder, FILES.cert));
  const usable = loadUsableAuthority(folder, now);
  const old = force ? undefined : usable;
  const authority = old ?? await createAuthority(now);
  const kept = previous === undefined || force ? { dns: [], addresses: [] } : namesOf(previous);
  const earlier = [...kept.dns, ...kept.addresses].slice(0, MAX_KEPT_NAMES);
  const leaf = await issueCertificate(authority, [...new Set([...required, ...earlier])], now);
  if (old === undefined) {
    writeAtomically(join(folder, FILES.authorityKey), authority.key, 0o600);
    writeAtomically(join(folder, FILES.authority), authority.cert, 0o644);
  }
  writeAtomically(join(folder, FILES.key), leaf.key, 0o600);
  writeAtomically(join(folder, FILES.cert), leaf.cert, 0o644);
  const material = loadUsableMaterial(folder, required, now);
  if (material === undefined) {
    throw new StartError(`Cannot make the development certificate in ${folder}: the written files cannot be used`);
  }
  return { ...material, made: true, authorityMade: old === undefined };
}

function loadUsableAuthority(folder: string, now: Date): CertificateAndKey | undefined {
  const certificate = readOwnCertificate(join(folder, FILES.authority));
  if (certificate === undefined || !hasDaysLeft(certificate, AUTHORITY_SPARE_DAYS, now)) return undefined;
  const key = readMatchingKey(certificate, join(folder, FILES.authorityKey));
  return key === undefined ? undefined : { cert: encodePem("CERTIFICATE", certificate.raw), key };
}

function hasDaysLeft(certificate: X509Certificate, days: number, now: Date): boolean {
  const { from, to } = validityOf(certificate);
  return from <= now && to.getTime() - now.getTime() >= days * DAY;
}

/**
 * The certificate in a file; undefined if there is none or it is damaged. Others' certificates are never overwritten.
 */
function readOwnCertificate(file: string): X509Certificate | undefined {
  const certificate = undefinedIfUnreadable(() => readCertificates(readFile(file, "development certificate"), file)[0]);
  if (certificate === undefined || subjectLines(certificate).includes(`O=${ORGANISATION}`)) return certificate;
  throw new StartError(
    `Cannot use ${file} as the development certificate: this program did not create it. To use it, give it with ` +
      `--cert and --key (preferably from another folder); otherwise move it away`,
  );
}

/** The key in a file, if it belongs to the certificate. */
function readMatchingKey(certificate: X509Certificate, file: string): string | undefined {
  const key = undefinedIfUnreadable(() => readPrivateKey(readFile(file, "development key"), file));
  if (key === undefined || !certificate.checkPrivateKey(key.key)) return undefined;
  return key.pem;
}

function undefinedIfUnreadable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    // New files would not help if Deno may not read them, so the error is reported.
    if (!(error instanceof StartError) || error.cause instanceof Deno.errors.NotCapable) throw error;
    return undefined;
  }
}
