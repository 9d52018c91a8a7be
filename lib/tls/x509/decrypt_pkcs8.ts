/**
 * Decrypts PKCS#8 keys (RFC 8018, PBES2 with PBKDF2) that Deno's `createPrivateKey` cannot. Measured in 2.9.6: it does
 * not support 3DES, which `openssl genrsa -des3` writes, and it assumes SHA-256 if no PRF is given, where the standard
 * specifies SHA-1, so it refuses the right passphrase of such a key.
 * @module
 */
import { createDecipheriv, pbkdf2Sync } from "node:crypto";
import { type Der, derChild, derChildren, derInteger, derOid, readDer, TAG } from "./der.ts";

const PBES2 = "1.2.840.113549.1.5.13";
const PBKDF2 = "1.2.840.113549.1.5.12";

const PRFS: Readonly<Record<string, string>> = {
  "1.2.840.113549.2.7": "sha1",
  "1.2.840.113549.2.8": "sha224",
  "1.2.840.113549.2.9": "sha256",
  "1.2.840.113549.2.10": "sha384",
  "1.2.840.113549.2.11": "sha512",
};

const CIPHERS: Readonly<Record<string, readonly [name: string, keyBytes: number]>> = {
  "1.2.840.113549.3.7": ["des-ede3-cbc", 24],
  "2.16.840.1.101.3.4.1.2": ["aes-128-cbc", 16],
  "2.16.840.1.101.3.4.1.42": ["aes-256-cbc", 32],
};

/**
 * AES-192-CBC. `createPrivateKey` supports it but `createDecipheriv` does not (2.9.6), so not in combination with
 * SHA-1.
 */
const AES_192 = "2.16.840.1.101.3.4.1.22";

/** The largest number of rounds. Real keys use thousands; many more would only block the process. */
const MAX_ROUNDS = 50_000_000;

interface Scheme {
  readonly salt: Uint8Array;
  readonly rounds: number;
  readonly prf: string;
  readonly cipher: readonly [name: string, keyBytes: number];
  readonly iv: Uint8Array;
  readonly data: Uint8Array;
}

/**
 * Decrypts an EncryptedPrivateKeyInfo.
 * @returns the PKCS#8 DER; `"wrong"` if the passphrase is wrong; `"unknown"` if neither this function nor Deno supports
 * the scheme; undefined if it is not PBES2 with PBKDF2 and AES-CBC or 3DES, which Deno may support
 */
export function decryptPkcs8(der: Uint8Array, passphrase: string): Uint8Array | "wrong" | "unknown" | undefined {
  const scheme = readScheme(der);
  if (scheme === undefined || scheme === "unknown") return scheme;
  const [name, keyBytes] = scheme.cipher;
  const key = pbkdf2Sync(passphrase, scheme.salt, scheme.rounds, keyBytes, scheme.prf);
  try {
    const decipher = createDecipheriv(name, key, scheme.iv);
    const plain = new Uint8Array([...decipher.update(scheme.data), ...decipher.final()]);
    // With a wrong key the padding is valid once in 256 times, so the result must also have the structure of PKCS#8.
    derChild(readDer(plain), 2, TAG.octetString);
    return plain;
  } catch {
    return "wrong";
  }
}

function readScheme(der: Uint8Array): Scheme | "unknown" | undefined {
  try {
    const whole = readDer(der);
    const algorithm = derChild(whole, 0, TAG.sequence);
    if (derOid(derChild(algorithm, 0)) !== PBES2) return undefined;
    const parameters = derChild(algorithm, 1, TAG.sequence);
    const derivation = derChild(parameters, 0, TAG.sequence);
    if (derOid(derChild(derivation, 0)) !== PBKDF2) return undefined;
    const [salt, rounds, ...rest] = derChildren(derChild(derivation, 1, TAG.sequence));
    const encryption = derChild(parameters, 1, TAG.sequence);
    const cipherId = derOid(derChild(encryption, 0));
    const cipher = CIPHERS[cipherId];
    const prf = readPrf(rest);
    if (cipherId === AES_192 && prf === "sha1") return "unknown";
    if (salt?.tag !== TAG.octetString || rounds === undefined || cipher === undefined || prf === undefined) {
      return undefined;
    }
    const count = derInteger(rounds);
    if (count < 1 || count > MAX_ROUNDS) return undefined;
    const iv = derChild(encryption, 1, TAG.octetString).content;
    const data = derChild(whole, 1, TAG.octetString).content;
    return { salt: salt.content, rounds: count, prf, cipher, iv, data };
  } catch {
    return undefined;
  }
}

function readPrf(rest: readonly Der[]): string | undefined {
  const given = rest.find((part) => part.tag === TAG.sequence);
  return given === undefined ? "sha1" : PRFS[derOid(derChild(given, 0))];
}
