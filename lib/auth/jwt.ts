/**
 * JSON Web Tokens (RFC 7519), checked by jose with the algorithms of the key's kind and no other.
 * @module
 */
import { errors, jwtVerify, type JWTVerifyResult } from "jose";
import { KEY_SET_RETRY_AFTER, KeySetUnavailable } from "./jwks.ts";
import type { JwtKey } from "./jwt_key.ts";
import { type Authenticated, keysUnavailable, tokenInvalid, type Unauthenticated } from "./auth_result.ts";

/** What a token must say beyond its signature. */
export interface JwtClaims {
  readonly audience?: string | undefined;
  readonly issuer?: string | undefined;
}

/** Seconds by which `exp` and `nbf` may be missed, as clocks differ. A connection's end is put off by as much. */
export const CLOCK_TOLERANCE = 5;

/**
 * Checks a token: signature, `exp` and `nbf` where it has them, `aud` and `iss` where they are asked for. A token
 * without `exp` is good for ever. A critical extension (`crit`) is refused.
 */
export async function verifyJwt(token: string, { key, algorithms }: JwtKey, claims: JwtClaims): Promise<
  Authenticated | Unauthenticated
> {
  const options = { algorithms: [...algorithms], clockTolerance: CLOCK_TOLERANCE, ...claims };
  let result: JWTVerifyResult;
  try {
    result = typeof key === "function"
      ? await jwtVerify(token, key, options).catch((error) => tryEach(error, token, options))
      : await jwtVerify(token, key, options);
  } catch (error) {
    return refusalOf(error, algorithms);
  }
  const { exp } = result.payload;
  const accepted: Authenticated = { ok: true, claims: result.payload };
  return exp === undefined ? accepted : { ...accepted, expiresAt: (exp + CLOCK_TOLERANCE) * 1000 };
}

/** A token that names no key, and a set with several that fit: one of them may have signed it. */
async function tryEach(
  error: unknown,
  token: string,
  options: Parameters<typeof jwtVerify>[2],
): Promise<JWTVerifyResult> {
  if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
  for await (const key of error) {
    try {
      return await jwtVerify(token, key, options);
    } catch (failed) {
      if (!(failed instanceof errors.JWSSignatureVerificationFailed)) throw failed;
    }
  }
  throw new errors.JWSSignatureVerificationFailed();
}

/** Our own words: jose's messages may quote what the token says. */
function refusalOf(error: unknown, algorithms: readonly string[]): Unauthenticated {
  if (error instanceof KeySetUnavailable) return keysUnavailable(error.message, KEY_SET_RETRY_AFTER);
  if (error instanceof errors.JWTExpired) return tokenInvalid("the token has expired", "the token has expired");
  if (error instanceof errors.JWTClaimValidationFailed) {
    switch (error.claim) {
      case "nbf":
        return tokenInvalid("the token is not valid yet (nbf)", "the token is not valid yet");
      case "aud":
        return tokenInvalid("the token is for another audience (aud)");
      case "iss":
        return tokenInvalid("the token is from another issuer (iss)");
      default:
        return tokenInvalid("a claim of the token is malformed");
    }
  }
  if (error instanceof errors.JOSEAlgNotAllowed) {
    return tokenInvalid(`the key is for ${algorithms.join(", ")}, and the token has another algorithm`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return tokenInvalid("the token's signature is not of this key");
  }
  if (error instanceof errors.JWKSNoMatchingKey) return tokenInvalid("no key of the key set fits the token");
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) {
    return tokenInvalid("the token is no JWT", "the token is malformed");
  }
  if (error instanceof errors.JOSENotSupported) {
    return tokenInvalid("the token or the key that it names uses an extension that is not supported");
  }
  // What is left is a key that WebCrypto or jose does not take: an RSA key of 1024 bits in a set, a broken JWK.
  return tokenInvalid(`the key of the token cannot be used (${error instanceof Error ? error.name : "unknown"})`);
}
