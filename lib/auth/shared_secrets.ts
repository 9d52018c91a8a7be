/**
 * Shared secrets: a client that sends one of them is authenticated.
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { StartError } from "../errors.ts";
import { isBearerToken, MAX_TOKEN_LENGTH } from "./request_credentials.ts";

/** The digests of the secrets; the texts are not kept. */
export interface SharedSecrets {
  readonly digests: readonly Uint8Array[];
  /** Warnings for the operator; each names the line. */
  readonly warnings: readonly string[];
}

/** The file has no secret. A start fails; on a reload it revokes every token. */
export class NoSecretError extends StartError {}

/** Shorter secrets cause a warning: 128 random bits are 22 characters of base64url. */
const SHORT = 22;

/**
 * Reads shared secrets, one per line. Blank lines and lines that begin with `#` are skipped; white space at the end of
 * a line is not part of the secret.
 * @param file the name of the file, for messages
 * @throws {StartError} if a line cannot be a token or there is no secret
 */
export function parseSecrets(text: string, file: string): SharedSecrets {
  const digests: Uint8Array[] = [];
  const warnings: string[] = [];
  for (const [index, raw] of text.split(/\r?\n/).entries()) {
    const secret = raw.trimEnd();
    if (secret === "" || secret.startsWith("#")) continue;
    const line = `${file} line ${index + 1}`;
    if (secret !== raw) warnings.push(`${line}: white space at its end is not part of the secret`);
    if (!isBearerToken(secret)) {
      throw new StartError(
        `${line}: a secret may have up to ${MAX_TOKEN_LENGTH} characters of A-Z a-z 0-9 - . _ ~ + / and then = ` +
          `(RFC 6750), this line is longer or has others; make one with: openssl rand -hex 32`,
      );
    }
    if (secret.length < SHORT) {
      warnings.push(
        `${line}: a secret of ${secret.length} characters can be guessed; make one with: openssl rand -hex 32`,
      );
    }
    if (/[/=]/.test(secret)) {
      warnings.push(`${line}: a secret with / or = cannot be a subprotocol (RFC 6455), so no browser page can send it`);
    }
    digests.push(sha256(secret));
  }
  if (digests.length === 0) {
    throw new NoSecretError(`${file} contains no secret: at least one line with a secret is required`);
  }
  return { digests, warnings };
}

/**
 * Returns the id of the secret that equals the token, or undefined. Every digest is compared, each in constant time, so
 * the time reveals neither how much of a token is right nor which secret it equals.
 */
export function findSharedSecret(token: string, secrets: SharedSecrets): string | undefined {
  const given = sha256(token);
  let found = 0;
  for (const digest of secrets.digests) found |= Number(timingSafeEqual(digest, given));
  return found === 1 ? given.toHex() : undefined;
}

/** The ids of the secrets: they identify a secret without revealing it. */
export function secretIds(secrets: SharedSecrets): Set<string> {
  return new Set(secrets.digests.map((digest) => digest.toHex()));
}

function sha256(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}
