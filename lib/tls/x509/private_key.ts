/**
 * Reads a private key file and converts the key to PKCS#8 PEM for `Deno.serve`.
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject } from "node:crypto";
import { messageOf, StartError } from "../../errors.ts";
import { parsePem, type PemBlock } from "./pem.ts";
import { decryptPkcs8 } from "./decrypt_pkcs8.ts";
import { fillCommand } from "../shell_command.ts";

/** A private key that Deno's TLS (rustls) accepts. */
export interface PrivateKey {
  /** PKCS#8, PEM, decrypted. Never logged. */
  readonly pem: string;
  readonly key: KeyObject;
  /** Whether the file was encrypted, so that a passphrase was used. */
  readonly encrypted: boolean;
}

/** Messages for PEM blocks that are not a private key, by label. */
const OTHER_LABELS: Readonly<Record<string, string>> = {
  "CERTIFICATE": "it contains a certificate, not a private key: are --cert and --key swapped?",
  "TRUSTED CERTIFICATE": "it contains a certificate, not a private key: are --cert and --key swapped?",
  "CERTIFICATE REQUEST": "it is a certificate signing request; give the private key of the request",
  "NEW CERTIFICATE REQUEST": "it is a certificate signing request; give the private key of the request",
  "PUBLIC KEY": "it is a public key; give the private key that belongs to it",
  "RSA PUBLIC KEY": "it is a public key; give the private key that belongs to it",
  "EC PARAMETERS": "it contains only the parameters of a curve; create a key with: " +
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
};

/** The curves that Deno 2.9.6 supports, each tried with a client. */
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];

/**
 * Reads a private key: PKCS#8, PKCS#1 or SEC1; RSA, EC (P-256, P-384, P-521) or Ed25519; encrypted ones (PKCS#8, or
 * traditional with DEK-Info) with their passphrase. Certificates and parameters in the same file are ignored.
 * @param file its name, for the messages
 * @throws {StartError} naming the file, the problem and how to fix it
 */
export function readPrivateKey(bytes: Uint8Array, file: string, passphrase?: string): PrivateKey {
  const fail = (reason: string) => new StartError(`Cannot use the key ${file}: ${reason}`);
  const blocks = parsePem(bytes, file);
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const [block] = keys;
  if (block === undefined) {
    const labels = blocks.map(({ label }) => label);
    const known = labels.find((label) => OTHER_LABELS[label] !== undefined);
    throw fail(known ? OTHER_LABELS[known]! : `it contains ${[...new Set(labels)].join(", ")} but no private key`);
  }
  if (keys.length > 1) throw fail(`it contains ${keys.length} private keys; keep only the certificate's key`);
  const encrypted = isEncrypted(block);
  if (encrypted && passphrase === undefined) {
    throw fail(
      "it is encrypted, but no passphrase was given: give a file with --key-passphrase-file, set " +
        `WSS_KEY_PASSPHRASE, or decrypt the key with: ${fillCommand("openssl pkey -in FILE -out NEW", file)}`,
    );
  }
  const key = openKey(block, file, encrypted ? passphrase : undefined, fail);
  refuseUnsupportedKey(key, fail);
  return { pem: key.export({ type: "pkcs8", format: "pem" }) as string, key, encrypted };
}

function isEncrypted({ label, headers }: PemBlock): boolean {
  return label === "ENCRYPTED PRIVATE KEY" || (headers.get("Proc-Type") ?? "").includes("ENCRYPTED") ||
    headers.has("DEK-Info");
}

type Fail = (reason: string) => StartError;

function openKey(block: PemBlock, file: string, passphrase: string | undefined, fail: Fail): KeyObject {
  if (block.label === "OPENSSH PRIVATE KEY") {
    throw fail(
      `it is an OpenSSH key; convert a copy of it with: ${fillCommand("ssh-keygen -p -m PKCS8 -f FILE", file)}`,
    );
  }
  if (block.label === "DSA PRIVATE KEY") throw fail("it is a DSA key, which TLS clients no longer accept");
  if (passphrase !== undefined && block.label === "ENCRYPTED PRIVATE KEY") {
    const opened = decryptPkcs8(block.der, passphrase);
    if (opened === "wrong") throw fail(WRONG);
    if (opened === "unknown") throw fail(unsupportedEncryption(file));
    if (opened !== undefined) return parseKey({ key: Buffer.from(opened), format: "der", type: "pkcs8" }, file, fail);
  }
  return parseKey({ key: block.text, format: "pem", passphrase }, file, fail);
}

const WRONG = "the passphrase is wrong (the first line of --key-passphrase-file, or WSS_KEY_PASSPHRASE)";

function unsupportedEncryption(file: string): string {
  const remedy = fillCommand("openssl pkcs8 -topk8 -in FILE -out NEW", file);
  return `Deno does not support its encryption; convert it with: ${remedy}`;
}

function parseKey(input: Parameters<typeof createPrivateKey>[0], file: string, fail: Fail): KeyObject {
  try {
    return createPrivateKey(input);
  } catch (error) {
    const reason = messageOf(error);
    if (/bad decrypt/i.test(reason)) throw fail(WRONG);
    const passphrase = typeof input === "object" && "passphrase" in input && input.passphrase !== undefined;
    // With a wrong passphrase the padding is valid once in 256 times, and the result is not a key.
    if (passphrase) throw fail(`${WRONG}, or ${unsupportedEncryption(file)}`);
    if (/SEC1|EC private|named curve/i.test(reason)) {
      const remedy = fillCommand("openssl ec -in FILE -param_enc named_curve -out NEW", file);
      throw fail(`its curve is unknown, or not given by name; if it is P-256 or P-384, convert it with: ${remedy}`);
    }
    throw fail(`it is damaged, or Deno does not support its type (${reason})`);
  }
}

/** Refuses the keys that `Deno.serve` would refuse with only "failed to parse private key". */
function refuseUnsupportedKey(key: KeyObject, fail: Fail): void {
  const { namedCurve = "unnamed", modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const make = "create one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem " +
    "(and request a certificate for it)";
  switch (key.asymmetricKeyType) {
    case "rsa":
      if (modulusLength >= 2048) return;
      throw fail(`at least 2048 bits are required, it is an RSA key of ${modulusLength} bits; ${make}`);
    case "ec":
      if (CURVES.includes(namedCurve)) return;
      throw fail(`the curve P-256, P-384 or P-521 is required, it is an EC key on ${namedCurve}; ${make}`);
    case "ed25519":
      return;
    case "rsa-pss": {
      const remedy = "use an ordinary RSA key (openssl genrsa) or an EC one";
      throw fail(`it is restricted to RSA-PSS, which Deno does not support; ${remedy}`);
    }
    default:
      throw fail(`an RSA, EC or Ed25519 key is required, it is of type ${key.asymmetricKeyType}; ${make}`);
  }
}
