/**
 * Verifies JSON Web Tokens (RFC 7519) with jose, using only the algorithms that the kind of key allows.
 * @module
 */
import { errors, jwtVerify, type JWTVerifyResult } from "jose";
import { KEY_SET_RETRY_AFTER, KeySetUnavailable } from "./jwks.ts";
import type { JwtKey } from "./jwt_key.ts";
import { type Authenticated, keysUnavailable, tokenInvalid, type Unauthenticated } from "./auth_result.ts";

/** Claims that a token must have. */
export interface JwtClaims {
  readonly audience?: string | undefined;
  readonly issuer?: string | undefined;
}

/** Clock skew that `exp` and `nbf` allow, in seconds. A connection is closed this long after its token's `exp`. */
export const CLOCK_TOLERANCE = 5;

/**
 * Verifies a token: its signature, `exp` and `nbf` if present, `aud` and `iss` if required. A token without `exp` never
 * expires. A critical extension (`crit`) is refused.
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

/** The token names no key and several keys of the set fit: tries each of them. */
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

/** The messages of jose may quote the token, so they are not used. */
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
    return tokenInvalid(`the token must be signed with ${algorithms.join(", ")}, it uses another algorithm`);
  }
  if (error instanceof errors.JWSSignatureVerificationFailed) {
    return tokenInvalid("the token's signature does not match the key");
  }
  if (error instanceof errors.JWKSNoMatchingKey) return tokenInvalid("no key of the key set matches the token");
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) {
    return tokenInvalid("the token is not a JWT", "the token is malformed");
  }
  if (error instanceof errors.JOSENotSupported) {
    return tokenInvalid("the token, or the key that it names, uses an unsupported extension");
  }
  // The remaining case is a key that WebCrypto or jose does not accept: a 1024-bit RSA key in a set, a broken JWK.
  return tokenInvalid(`the key of the token cannot be used (${error instanceof Error ? error.name : "unknown"})`);
}
