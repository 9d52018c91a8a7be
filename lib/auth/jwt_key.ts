/**
 * Reads the key that verifies JWTs from a file, and determines which algorithms it may be used with.
 * @module
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { importSPKI, type JWTVerifyGetKey } from "jose";
import { messageOf, StartError } from "../errors.ts";
import { decodeText, isUtf16, trailingSpace } from "../text_file.ts";

/** A key, or a function that finds it, with the only algorithms that it may be used with (RFC 8725 §3.1). */
export interface JwtKey {
  readonly algorithms: readonly string[];
  readonly key: CryptoKey | JWTVerifyGetKey;
}

/** Algorithms of public keys. `EdDSA` with an Ed25519 key is `Ed25519` in RFC 9864; both names are accepted. */
export const PUBLIC_ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"] as const;

const encoder = new TextEncoder();

/** A key from a file. */
export interface FileKey extends JwtKey {
  /** A digest that identifies the key without revealing it. */
  readonly id: string;
  /** Warnings about the file, for the operator. */
  readonly warnings: readonly string[];
}

function idOf(key: string | Uint8Array): string {
  return createHash("sha256").update(key).digest("hex");
}

/**
 * Makes the HS256 key from a secret file. If the file is UTF-8 text, a leading byte order mark and trailing line ends
 * are not part of the secret; otherwise the secret is every byte of the file.
 * @throws {StartError} if the secret is shorter than 32 bytes (RFC 7518 §3.2), UTF-16 text, or a PEM key
 */
export async function secretKey(content: Uint8Array<ArrayBuffer>, file: string): Promise<FileKey> {
  // A random secret may begin with a UTF-16 byte order mark, but UTF-16 text also contains zeros.
  if (isUtf16(content) && content.includes(0)) {
    throw new StartError(`Cannot use the secret in ${file}: it is UTF-16 text; save it as UTF-8`);
  }
  const text = textOf(content);
  if (text?.includes("-----BEGIN ")) {
    throw new StartError(
      `Cannot use the secret in ${file}: it is a PEM key; give a public key with --jwt-public-key-file`,
    );
  }
  const bytes = text === undefined ? content : encoder.encode(text.replace(/[\r\n]+$/, ""));
  if (bytes.length < 32) {
    throw new StartError(
      `Cannot use the secret in ${file}: HS256 requires at least 32 bytes (RFC 7518 section 3.2), it has ` +
        `${bytes.length}; make one with: openssl rand -hex 32`,
    );
  }
  const warnings = text !== undefined && trailingSpace(text) !== ""
    ? [`${file} ends with white space, which is part of the secret: remove it unless the token's signer uses it too`]
    : [];
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  return { algorithms: ["HS256"], key, id: idOf(bytes), warnings };
}

/** The text, or undefined if the bytes are not text. */
function textOf(content: Uint8Array): string | undefined {
  try {
    return decodeText(content);
  } catch {
    return undefined;
  }
}

/**
 * Makes the key from the PEM of a public key or a certificate.
 * @throws {StartError} if it is a private key, unreadable, or of a kind that none of the algorithms uses
 */
export async function publicKey(text: string, file: string): Promise<FileKey> {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new StartError(
      `Cannot use ${file}: a public key is required, but it contains a private key, which only the signer of tokens may have; ` +
        `write the public key with: openssl pkey -in KEY -pubout`,
    );
  }
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch (error) {
    throw new StartError(
      `Cannot use ${file}: a public key in PEM ("-----BEGIN PUBLIC KEY-----") is required: ${messageOf(error)}`,
    );
  }
  const algorithms = algorithmsOf(key, file);
  const pem = key.export({ type: "spki", format: "pem" }) as string;
  return { algorithms, key: await importSPKI(pem, algorithms[0]!), id: idOf(pem), warnings: [] };
}

function algorithmsOf(key: KeyObject, file: string): readonly string[] {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
      if (modulusLength >= 2048) return ["RS256"];
      throw new StartError(
        `Cannot use ${file}: RS256 requires at least 2048 bits (RFC 7518 section 3.3), the key has ${modulusLength}`,
      );
    case "ec":
      if (namedCurve === "prime256v1") return ["ES256"];
      throw new StartError(`Cannot use ${file}: ES256 requires a key on the curve P-256, this one is on ${namedCurve}`);
    case "ed25519":
      return ["EdDSA", "Ed25519"];
    default:
      throw new StartError(
        `Cannot use ${file}: an RSA, P-256 or Ed25519 key is required, this one is ${key.asymmetricKeyType}`,
      );
  }
}
