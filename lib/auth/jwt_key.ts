/**
 * The one key that JWTs are checked with, and the algorithms that go with its kind.
 * @module
 */
import { createHash, createPublicKey, type KeyObject } from "node:crypto";
import { importSPKI, type JWTVerifyGetKey } from "jose";
import { messageOf, StartError } from "../errors.ts";
import { decodeText, isUtf16, trailingSpace } from "../text_file.ts";

/** A key, or what finds it, with the only algorithms that it may be used with (RFC 8725 §3.1). */
export interface JwtKey {
  readonly algorithms: readonly string[];
  readonly key: CryptoKey | JWTVerifyGetKey;
}

/** What a public key may sign with. `EdDSA` is Ed25519, which RFC 9864 gives that name too. */
export const PUBLIC_ALGORITHMS = ["RS256", "ES256", "EdDSA", "Ed25519"] as const;

const encoder = new TextEncoder();

/** The key of a file. */
export interface FileKey extends JwtKey {
  /** Tells it from another key; says nothing of it. */
  readonly id: string;
  /** What to tell the operator of the file. */
  readonly warnings: readonly string[];
}

function idOf(key: string | Uint8Array): string {
  return createHash("sha256").update(key).digest("hex");
}

/**
 * Makes the HS256 key of a secret file. Of text, its UTF-8 bytes are the secret, without a byte order mark before it and
 * line ends after it; of anything else, all bytes of the file.
 * @throws {StartError} when it is shorter than 32 bytes (RFC 7518 §3.2), UTF-16, or a key of another kind
 */
export async function secretKey(content: Uint8Array<ArrayBuffer>, file: string): Promise<FileKey> {
  // A random secret may begin as UTF-16 does; text in it has zeros.
  if (isUtf16(content) && content.includes(0)) {
    throw new StartError(`Cannot use the secret in ${file}: it is UTF-16 text; save it as UTF-8`);
  }
  const text = textOf(content);
  if (text?.includes("-----BEGIN ")) {
    throw new StartError(`${file} holds a PEM key, no secret: give a public key with --jwt-public-key-file`);
  }
  const bytes = text === undefined ? content : encoder.encode(text.replace(/[\r\n]+$/, ""));
  if (bytes.length < 32) {
    throw new StartError(
      `${file}: HS256 needs a secret of 32 bytes at the least (RFC 7518 section 3.2), and this one has ${bytes.length}; ` +
        `make one with: openssl rand -hex 32`,
    );
  }
  const warnings = text !== undefined && trailingSpace(text) !== ""
    ? [`${file} ends with white space, which is part of the secret: remove it unless the signer has it too`]
    : [];
  const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["verify"]);
  return { algorithms: ["HS256"], key, id: idOf(bytes), warnings };
}

/** The text, or undefined where the bytes are none. */
function textOf(content: Uint8Array): string | undefined {
  try {
    return decodeText(content);
  } catch {
    return undefined;
  }
}

/**
 * Makes the key of a public key's or a certificate's PEM.
 * @throws {StartError} when it is private, unreadable, or of a kind that none of the algorithms uses
 */
export async function publicKey(text: string, file: string): Promise<FileKey> {
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
  return { algorithms, key: await importSPKI(pem, algorithms[0]!), id: idOf(pem), warnings: [] };
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
