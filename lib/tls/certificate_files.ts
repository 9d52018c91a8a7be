/**
 * Reads the operator's certificate, chain and key files, checks them against each other, and sorts the chain.
 * @module
 */
import { Buffer } from "node:buffer";
import { X509Certificate } from "node:crypto";
import type { CertificateFiles } from "../config/service_mode.ts";
import { decodeText } from "../text_file.ts";
import { messageOf, readFailure, StartError } from "../errors.ts";
import type { Finding } from "../diagnostic_finding.ts";
import { inspectAndSort, validityOf } from "./x509/inspect_chain.ts";
import { certificateTitle, readFields } from "./x509/certificate_fields.ts";
import { type PrivateKey, readPrivateKey } from "./x509/private_key.ts";
import type { TlsMaterial } from "./loaded_certificate.ts";
import { namesOf } from "./x509/certificate_names.ts";
import { encodePem, parsePem } from "./x509/pem.ts";
import { fillCommand, shellWord } from "./shell_command.ts";

/** Messages for PEM blocks that are not certificates, by label. */
const OTHER_LABELS: readonly (readonly [label: RegExp, reason: string])[] = [
  [/CERTIFICATE REQUEST$/, "it is a signing request: send it to the authority, and give the certificate it returns"],
  [/PUBLIC KEY$/, "it is a public key, not a certificate"],
  [/PRIVATE KEY$/, "it contains a private key but no certificate: are --cert and --key swapped?"],
  [/^X509 CRL$/, "it is a revocation list, not a certificate"],
];

/** The only problem is that the key belongs to another certificate. */
export class MismatchedKey extends StartError {}

/**
 * Reads and checks the files. The chain is served in the right order, whatever order it was given in.
 * @param now default: the current time
 * @throws {MismatchedKey} if the key does not belong to the certificate, and all else is right
 * @throws {StartError} with every problem, one per line: a file that cannot be read or has the wrong content, a key
 * that Deno does not support, a certificate that no client accepts (expired, not yet valid, not for servers)
 */
export function loadCertificateFiles(files: CertificateFiles, now: Date = new Date()): TlsMaterial {
  const problems: string[] = [];
  let mismatch: MismatchedKey | undefined;
  const attempt = <T>(read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      if (!(error instanceof StartError)) throw error;
      if (error instanceof MismatchedKey) mismatch = error;
      problems.push(error.message);
    }
  };
  const given = attempt(() => readCertificates(readFile(files.cert, "certificate"), files.cert)) ?? [];
  const { chain } = files;
  const appended = (chain && attempt(() => readCertificates(readFile(chain, "chain"), chain))) || [];
  const passphrase = attempt(() => readPassphrase(files));
  const lacksPassphrase = files.keyPassphraseFile !== undefined && passphrase === undefined;
  // Without the passphrase, the key would only be reported a second time.
  const key = attempt(() => {
    const bytes = readFile(files.key, "key");
    return lacksPassphrase ? undefined : readPrivateKey(bytes, files.key, passphrase);
  });

  const all = [...given, ...appended];
  const leaf = key && given.length > 0 ? attempt(() => findLeafForKey(key, all, files)) : all[0];
  const { findings, served } = leaf === undefined
    ? { findings: [], served: [] }
    : inspectAndSort(all, { now, leaf, sorted: true });
  for (const { level, fact, remedy } of findings) {
    if (level === "error") problems.push(`Cannot use the certificate ${files.cert}: ${fact} ${remedy ?? ""}`.trim());
  }
  if (mismatch !== undefined && problems.length === 1) throw mismatch;
  if (key === undefined || leaf === undefined || problems.length > 0) throw new StartError(problems.join("\n"));
  const names = namesOf(leaf);
  return {
    cert: served.map((certificate) => encodePem("CERTIFICATE", certificate.raw)).join(""),
    key: key.pem,
    leaf,
    names: [...names.dns, ...names.addresses],
    notAfter: validityOf(leaf).to,
    findings: [...findings, ...inspectFiles(files, key, passphrase)],
    file: files.cert,
  };
}

/**
 * Reads the certificates of a PEM file; private keys and parameters in it are ignored.
 * @param file its name, for the messages
 * @throws {StartError} if there is none, or one cannot be parsed
 */
export function readCertificates(bytes: Uint8Array, file: string): X509Certificate[] {
  const fail = (reason: string) => new StartError(`Cannot use the certificate ${file}: ${reason}`);
  const blocks = parsePem(bytes, file);
  const certificates: X509Certificate[] = [];
  for (const { label, der, line } of blocks) {
    if (label === "TRUSTED CERTIFICATE") {
      const remedy = fillCommand("openssl x509 -in FILE -out NEW", file);
      throw fail(`it is in OpenSSL's own format (TRUSTED CERTIFICATE); convert it with: ${remedy}`);
    }
    if (label === "PKCS7" || label === "CMS") {
      const remedy = fillCommand("openssl pkcs7 -in FILE -print_certs -out NEW", file);
      throw fail(`it is a PKCS#7 bundle; convert it with: ${remedy}`);
    }
    if (label !== "CERTIFICATE" && label !== "X509 CERTIFICATE") continue;
    try {
      certificates.push(new X509Certificate(Buffer.from(der)));
    } catch (error) {
      throw fail(
        `the certificate of line ${line} is damaged, or of a kind that Deno cannot read (${messageOf(error)})`,
      );
    }
  }
  if (certificates.length > 0) return certificates;
  const labels = blocks.map(({ label }) => label);
  const known = OTHER_LABELS.find(([pattern]) => labels.some((label) => pattern.test(label)));
  throw fail(known?.[1] ?? `it contains ${[...new Set(labels)].join(", ")} but no certificate`);
}

/**
 * Reads a whole file.
 * @param what the purpose of the file, for the message
 * @throws {StartError} naming the file and the reason
 */
export function readFile(file: string, what: string): Uint8Array {
  try {
    return Deno.readFileSync(file);
  } catch (error) {
    throw new StartError(`Cannot read the ${what} ${file}: ${explainReadFailure(error, file)}`, { cause: error });
  }
}

function explainReadFailure(error: unknown, file: string): string {
  if (error instanceof Deno.errors.NotFound) return explainMissingFile(file);
  if (error instanceof Deno.errors.PermissionDenied) {
    return "this user may not read it; run as a user who may, or copy it to a folder of this user (certbot: --deploy-hook)";
  }
  if (error instanceof Deno.errors.NotCapable) return `Deno was started without --allow-read=${shellWord(file)}`;
  return readFailure(error);
}

function explainMissingFile(file: string): string {
  try {
    return `it is a symbolic link to ${Deno.readLinkSync(file)}, which does not exist`;
  } catch {
    return "there is no such file";
  }
}

function readPassphrase({ keyPassphraseFile: file, keyPassphrase }: CertificateFiles): string | undefined {
  if (file === undefined) return keyPassphrase;
  let text: string;
  try {
    text = decodeText(readFile(file, "key's passphrase"));
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new StartError(`Cannot read the key's passphrase in ${file}: ${error.message}`);
  }
  const line = text.split(/\r\n|\n|\r/, 1)[0]!;
  if (line === "") throw new StartError(`Cannot use the passphrase in ${file}: its first line is empty`);
  return line;
}

function findLeafForKey(
  { key }: PrivateKey,
  all: readonly X509Certificate[],
  files: CertificateFiles,
): X509Certificate {
  const leaf = all.find((certificate) => certificate.checkPrivateKey(key));
  if (leaf !== undefined) return leaf;
  const [first] = all;
  const kind = readFields(first!)?.key.label ?? "unknown";
  throw new MismatchedKey(
    `Cannot use the key ${files.key}: it does not belong to the certificate ${files.cert} (${
      certificateTitle(first!)
    }, key ` +
      `${kind})${all.length > 1 ? " nor to any other of the chain" : ""}; give the key that the certificate was ` +
      `requested with, or a certificate for this key. For a matching pair, these commands print the same: ` +
      `openssl x509 -noout -pubkey -in ${shellWord(files.cert)}, openssl pkey -pubout -in ${shellWord(files.key)}`,
  );
}

/** Findings about the files themselves. */
function inspectFiles(files: CertificateFiles, key: PrivateKey, passphrase: string | undefined): Finding[] {
  const found: Finding[] = [];
  if (passphrase !== undefined && !key.encrypted) {
    const fact = `A passphrase is given, but the key ${files.key} is not encrypted.`;
    found.push({ code: "passphrase-unused", level: "note", fact });
  }
  const mode = Deno.build.os === "windows" ? null : Deno.statSync(files.key).mode;
  if (mode !== null && (mode & 0o004) !== 0) {
    const fact = `Every user of this machine can read the key ${files.key}.`;
    const remedy = `Restrict it: chmod o-r ${shellWord(files.key)}.`;
    found.push({ code: "key-readable", level: "warning", fact, remedy });
  }
  return found;
}
