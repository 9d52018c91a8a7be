/**
 * The one key that JWTs are checked with, and the algorithms that go with its kind.
 * @module
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { importSPKI, type JWTVerifyGetKey } from "jose";
import { messageOf, StartError } from "../errors.ts";

/** A key, or what finds it, with the only algorithms that it may be used with (RFC 8725 §3.1). */
export interface JwtKey {
  readonly algorithms: readonly string[];
  readonly key: CryptoKey | JWTVerifyGetKey;
}

/** What a public key may sign with. `EdDSA` is Ed25519, which RFC 9864 gives that name too. */
export const PUBLIC_ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"] as const;

const encoder = new TextEncoder();

/**
 * Makes the HS256 key of a secret file's text; line ends after it are no part of it.
 * @throws {StartError} when it is shorter than 32 bytes (RFC 7518 §3.2), or is a key of another kind
 */
export async function secretKey(text: string, file: string): Promise<JwtKey> {
  if (text.includes("-----BEGIN ")) {
    throw new StartError(`${file} holds a PEM key, no secret: give a public key with --jwt-public-key-file`);
  }
  const bytes = encoder.encode(text.replace(/[\r\n]+$/, ""));
  if (bytes.length < 32) {
    throw new StartError(
      `${file}: HS256 needs a secret of 32 bytes at the least (RFC 7518 section 3.2), and this one has ${bytes.length}; ` +
        `make one with: openssl rand -hex 32`,
    );
  }
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  return { algorithms: ["HS256"], key };
}

/**
 * Makes the key of a public key's or a certificate's PEM.
 * @throws {StartError} when it is private, unreadable, or of a kind that none of the algorithms uses
 */
export async function publicKey(text: string, file: string): Promise<JwtKey> {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw new StartError(
      `${file} holds a private key: only who signs tokens may have it; give the public one ` +
        `(openssl pkey -in KEY -pubout)`,
    );
  }
  let key: KeyObject;
  try {
    key = createPublicKey(text);
  } catch (error) {
    throw new StartError(`${file} holds no public key in PEM ("-----BEGIN PUBLIC KEY-----"): ${messageOf(error)}`);
  }
  const algorithms = algorithmsOf(key, file);
  const pem = key.export({ type: "spki", format: "pem" }) as string;
  return { algorithms, key: await importSPKI(pem, algorithms[0]!) };
}

function algorithmsOf(key: KeyObject, file: string): readonly string[] {
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
      if (modulusLength >= 2048) return ["RS256"];
      throw new StartError(`${file}: RS256 needs 2048 bits at the least (RFC 7518 section 3.3), not ${modulusLength}`);
    case "ec":
      if (namedCurve === "prime256v1") return ["ES256"];
      throw new StartError(`${file}: ES256 needs a key on the curve P-256, not ${namedCurve}`);
    case "ed25519":
      return ["EdDSA", "Ed25519"];
    default:
      throw new StartError(`${file}: a key of RSA, P-256 or Ed25519 is needed, not ${key.asymmetricKeyType}`);
  }
}
