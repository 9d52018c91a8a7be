/**
 * Shared secrets: whoever knows one of them is welcome.
 * @module
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { StartError } from "../errors.ts";
import { isBearerToken, MAX_TOKEN_LENGTH } from "./request_credentials.ts";

/** Secrets as digests: the texts are not kept. */
export interface SharedSecrets {
  readonly digests: readonly Uint8Array[];
  /** For the operator, each naming its line. */
  readonly warnings: readonly string[];
}

/** A file without a secret: nothing to start with, but what an operator leaves who takes every token back. */
export class NoSecretError extends StartError {}

/** 128 random bits are 22 characters of base64url. */
const SHORT = 22;

/**
 * Reads shared secrets, one a line; blank lines and lines that begin with `#` are skipped, white space at the end of a
 * line is no part of it.
 * @param file what precedes the line's number in a message
 * @throws {StartError} when a line could never be a token, or there is none
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
        `${line}: a secret is up to ${MAX_TOKEN_LENGTH} characters of A-Z a-z 0-9 - . _ ~ + / and = at its end ` +
          `(RFC 6750), and this line has others; make one with: openssl rand -hex 32`,
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
  if (digests.length === 0) throw new NoSecretError(`${file} holds no secret: one a line is needed`);
  return { digests, warnings };
}

/**
 * The id of the secret that the token is, or undefined. Digests of one length are compared in constant time, all of them
 * whatever the first ones say: the time tells neither how much of a token is right nor which secret it is.
 */
export function findSharedSecret(token: string, secrets: SharedSecrets): string | undefined {
  const given = sha256(token);
  let found = 0;
  for (const digest of secrets.digests) found |= Number(timingSafeEqual(digest, given));
  return found === 1 ? given.toHex() : undefined;
}

/** The ids of the secrets: they tell one from the other and say nothing of the text. */
export function secretIds(secrets: SharedSecrets): Set<string> {
  return new Set(secrets.digests.map((digest) => digest.toHex()));
}

function sha256(text: string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(text).digest());
}
