/** Settings, keys, tokens and verdicts for the tests of authentication. jose creates the keys and the tokens. */
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, SignJWT } from "jose";
import type { AuthSettings } from "../../lib/auth/validate_auth_options.ts";
import type { Authenticated, Unauthenticated } from "../../lib/auth/auth_result.ts";

/** No authentication. */
export const NONE: AuthSettings = {
  authTokenFile: undefined,
  jwtSecretFile: undefined,
  jwtPublicKeyFile: undefined,
  jwksUrl: undefined,
  jwtAudience: undefined,
  jwtIssuer: undefined,
  authQuery: false,
};

export interface Signer {
  readonly algorithm: string;
  readonly privateKey: CryptoKey | Uint8Array;
  readonly kid?: string;
}

export interface PublicSigner extends Signer {
  readonly pem: string;
  readonly jwk: JWK;
}

export async function signer(algorithm: string, kid?: string): Promise<PublicSigner> {
  const { privateKey, publicKey } = await generateKeyPair(algorithm, { extractable: true });
  const jwk = { ...await exportJWK(publicKey), ...(kid === undefined ? {} : { kid }) };
  return { algorithm, privateKey, kid, pem: await exportSPKI(publicKey), jwk };
}

/** Signs a token. `times` are seconds from now. */
export function sign(
  by: Signer,
  claims: Record<string, unknown> = {},
  times: { exp?: number; nbf?: number } = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const all: Record<string, unknown> = { ...claims };
  for (const name of ["exp", "nbf"] as const) {
    const offset = times[name];
    if (offset !== undefined) all[name] = now + offset;
  }
  const header = { alg: by.algorithm, ...(by.kid === undefined ? {} : { kid: by.kid }) };
  return new SignJWT(all).setProtectedHeader(header).sign(by.privateKey);
}

/** Returns a verdict that is a refusal. @throws {Error} if the token was accepted */
export function refusal(verdict: Authenticated | Unauthenticated): Unauthenticated {
  if (verdict.ok) throw new Error("the token was accepted");
  return verdict;
}
