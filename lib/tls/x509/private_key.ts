/**
 * A private key file into the PKCS#8 PEM that `Deno.serve` takes.
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, type KeyObject } from "node:crypto";
import { messageOf, StartError } from "../../errors.ts";
import { parsePem, type PemBlock } from "./pem.ts";
import { decryptPkcs8 } from "./decrypt_pkcs8.ts";
import { command } from "../shell_command.ts";

/** A private key that Deno's TLS (rustls) serves with. */
export interface PrivateKey {
  /** PKCS#8, PEM, decrypted. Never logged. */
  readonly pem: string;
  readonly key: KeyObject;
  /** Whether its file was encrypted, and a passphrase used. */
  readonly encrypted: boolean;
}

/** What is no private key, by PEM label, and what to do instead. */
const STRANGERS: Readonly<Record<string, string>> = {
  "CERTIFICATE": "it holds a certificate and no private key: are --cert and --key swapped?",
  "TRUSTED CERTIFICATE": "it holds a certificate and no private key: are --cert and --key swapped?",
  "CERTIFICATE REQUEST": "it is a certificate signing request; give the private key that it was made with",
  "NEW CERTIFICATE REQUEST": "it is a certificate signing request; give the private key that it was made with",
  "PUBLIC KEY": "it is a public key; give the private key that belongs to it",
  "RSA PUBLIC KEY": "it is a public key; give the private key that belongs to it",
  "EC PARAMETERS": "it holds the curve's parameters and no key; make one with: " +
    "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
};

/** The kinds of key that Deno 2.9.6 serves with, each tried with a client. RSA from 2048 bits on. */
const CURVES = ["prime256v1", "secp384r1", "secp521r1"];

/**
 * Reads a private key: PKCS#8, PKCS#1 or SEC1; RSA, EC (P-256, P-384, P-521) or Ed25519; encrypted ones (PKCS#8, or
 * traditional with DEK-Info) with their passphrase. Certificates and parameters beside it in the file are passed over.
 * @param file its name, for the messages
 * @throws {StartError} naming the file, what is wrong with it and how to mend it.
 */
export function readPrivateKey(bytes: Uint8Array, file: string, passphrase?: string): PrivateKey {
  const fail = (reason: string) => new StartError(`Cannot use the key ${file}: ${reason}`);
  const blocks = parsePem(bytes, file);
  const keys = blocks.filter(({ label }) => label.endsWith("PRIVATE KEY"));
  const [block] = keys;
  if (block === undefined) {
    const labels = blocks.map(({ label }) => label);
    const known = labels.find((label) => STRANGERS[label] !== undefined);
    throw fail(known ? STRANGERS[known]! : `it holds ${[...new Set(labels)].join(", ")} and no private key`);
  }
  if (keys.length > 1) throw fail(`it holds ${keys.length} private keys; leave the one of the certificate`);
  const encrypted = isEncrypted(block);
  if (encrypted && passphrase === undefined) {
    throw fail(
      "it is encrypted, and no passphrase was given: name a file that has it with --key-passphrase-file, set " +
        `WSS_KEY_PASSPHRASE, or decrypt the key with: ${command("openssl pkey -in FILE -out NEW", file)}`,
    );
  }
  const key = openKey(block, file, encrypted ? passphrase : undefined, fail);
  refuseUnserved(key, fail);
  return { pem: key.export({ type: "pkcs8", format: "pem" }) as string, key, encrypted };
}

function isEncrypted({ label, headers }: PemBlock): boolean {
  return label === "ENCRYPTED PRIVATE KEY" || (headers.get("Proc-Type") ?? "").includes("ENCRYPTED") ||
    headers.has("DEK-Info");
}

type Fail = (reason: string) => StartError;

function openKey(block: PemBlock, file: string, passphrase: string | undefined, fail: Fail): KeyObject {
  if (block.label === "OPENSSH PRIVATE KEY") {
    throw fail(`it is an OpenSSH key; convert a copy of it with: ${command("ssh-keygen -p -m PKCS8 -f FILE", file)}`);
  }
  if (block.label === "DSA PRIVATE KEY") throw fail("it is a DSA key, which no TLS client takes any more");
  if (passphrase !== undefined && block.label === "ENCRYPTED PRIVATE KEY") {
    const opened = decryptPkcs8(block.der, passphrase);
    if (opened === "wrong") throw fail(WRONG);
    if (opened === "unknown") throw fail(strangeEncryption(file));
    if (opened !== undefined) return parseKey({ key: Buffer.from(opened), format: "der", type: "pkcs8" }, file, fail);
  }
  return parseKey({ key: block.text, format: "pem", passphrase }, file, fail);
}

const WRONG = "the passphrase does not open it (the first line of --key-passphrase-file, or WSS_KEY_PASSPHRASE)";

function strangeEncryption(file: string): string {
  const remedy = command("openssl pkcs8 -topk8 -in FILE -out NEW", file);
  return `its encryption is of a kind that Deno does not open; write it in today's form with: ${remedy}`;
}

function parseKey(input: Parameters<typeof createPrivateKey>[0], file: string, fail: Fail): KeyObject {
  try {
    return createPrivateKey(input);
  } catch (error) {
    const reason = messageOf(error);
    if (/bad decrypt/i.test(reason)) throw fail(WRONG);
    const passphrase = typeof input === "object" && "passphrase" in input && input.passphrase !== undefined;
    // A wrong passphrase's padding is right once in 256 times, and what comes out is then no key.
    if (passphrase) throw fail(`${WRONG}, or ${strangeEncryption(file)}`);
    if (/SEC1|EC private/i.test(reason)) {
      const remedy = command("openssl ec -in FILE -param_enc named_curve -out NEW", file);
      throw fail(`its curve is not given by name, or not known; if it is P-256 or P-384, convert it with: ${remedy}`);
    }
    throw fail(`it is damaged, or of a kind that Deno does not know (${reason})`);
  }
}

/** Refuses the keys that `Deno.serve` would refuse, where it says only "failed to parse private key". */
function refuseUnserved(key: KeyObject, fail: Fail): void {
  const { namedCurve = "unnamed", modulusLength = 0 } = key.asymmetricKeyDetails ?? {};
  const make = "make one with: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem " +
    "(and have it certified)";
  switch (key.asymmetricKeyType) {
    case "rsa":
      if (modulusLength >= 2048) return;
      throw fail(`it is an RSA key of ${modulusLength} bits, and TLS wants 2048 at least; ${make}`);
    case "ec":
      if (CURVES.includes(namedCurve)) return;
      throw fail(`it is an EC key on the curve ${namedCurve}, and Deno serves P-256, P-384 and P-521; ${make}`);
    case "ed25519":
      return;
    case "rsa-pss": {
      const remedy = "use an ordinary RSA key (openssl genrsa) or an EC one";
      throw fail(`it is restricted to RSA-PSS, which Deno does not serve; ${remedy}`);
    }
    default:
      throw fail(`it is a key of the kind ${key.asymmetricKeyType}, and Deno serves RSA, EC and Ed25519; ${make}`);
  }
}
