/**
 * Who may connect: one way to check tokens, chosen by the settings, with its key kept up to date.
 * @module
 */
import { messageOf, StartError, UsageError } from "../errors.ts";
import { type Logger, silent } from "../log.ts";
import { flagOf } from "../config/option_table.ts";
import { type AuthRequest, findCredentials } from "./credentials.ts";
import { type KeySetTimes, remoteKeys } from "./jwks.ts";
import { verifyJwt } from "./jwt.ts";
import { type JwtKey, publicKey, secretKey } from "./jwt_key.ts";
import { type AuthSettings, validateAuthOptions } from "./validate_options.ts";
import { isSharedSecret, parseSecrets } from "./shared_secrets.ts";
import { type Authenticated, requestInvalid, tokenInvalid, tokenMissing, type Unauthenticated } from "./auth_result.ts";

/** What the request is without its token: the only form of it that an app, a header or a log may see. */
export interface Stripped {
  /** The URL without `?token=`, where `authQuery` reads that. */
  readonly url: string;
  /** The offered subprotocols without `bearer.TOKEN`. */
  readonly offered: readonly string[];
}

/** A verdict, with the request as it may be shown. */
export type AuthResult = (Authenticated | Unauthenticated) & Stripped;

/** Checks the tokens of handshakes. */
export interface Authenticator {
  /** What clients need, for the start's banner: `one of 2 shared secrets`, `a JWT (HS256)`. */
  readonly need: string;
  /**
   * Judges one handshake; never throws and never rejects. With shared secrets the verdict is there at once, with JWTs it
   * is a promise: what must be read from the request before an await must be read before this.
   */
  authenticate(request: AuthRequest): AuthResult | Promise<AuthResult>;
  /**
   * Reads the key's file again; the new one serves from then on, for new connections. A fetched key set is kept, as it
   * renews itself.
   * @throws {StartError} when the file is not usable; the old key then goes on serving
   */
  reload(): Promise<void>;
}

/** What else it works with. */
export interface AuthenticatorOptions {
  /** For weak secrets, and for key sets that cannot be fetched. Default: silent. */
  readonly log?: Logger;
  readonly keySetTimes?: KeySetTimes;
}

type Check = (token: string) => Authenticated | Unauthenticated | Promise<Authenticated | Unauthenticated>;
type LoadedSettings = { readonly need: string; readonly check: Check };

/**
 * Makes the authenticator that the settings ask for; undefined where they ask for none.
 * @throws {UsageError} when the settings contradict each other
 * @throws {StartError} when a file is missing or not usable. A key set that cannot be fetched is no error: it is logged,
 * and handshakes get 503 until it can.
 */
export async function createAuthenticator(
  settings: AuthSettings,
  options: AuthenticatorOptions = {},
): Promise<Authenticator | undefined> {
  const problems = validateAuthOptions(settings);
  if (problems.length > 0) throw new UsageError(problems);
  const loader = loaderOf(settings, options);
  if (loader === undefined) return undefined;
  let { need, check } = await loader();

  return {
    get need() {
      return need;
    },
    authenticate(request) {
      const { token, problem, ignoredQuery, ...stripped } = findCredentials(request, settings.authQuery);
      if (problem !== undefined) return { ...requestInvalid(problem), ...stripped };
      if (token === undefined) {
        const hint = ignoredQuery ? "; the one in ?token= is read only with --auth-query" : "";
        return { ...tokenMissing(`the request carries no token${hint}`), ...stripped };
      }
      const verdict = check(token);
      return verdict instanceof Promise
        ? verdict.then((settled) => ({ ...settled, ...stripped }))
        : { ...verdict, ...stripped };
    },
    async reload() {
      ({ need, check } = await loader());
    },
  };
}

/** What reads the key: at the start, and again at each reload. */
function loaderOf(settings: AuthSettings, options: AuthenticatorOptions): (() => Promise<LoadedSettings>) | undefined {
  const { authTokenFile, jwtSecretFile, jwtPublicKeyFile, jwksUrl } = settings;
  const { log = silent } = options;
  const claims = { audience: settings.jwtAudience, issuer: settings.jwtIssuer };
  const jwt = (key: JwtKey): LoadedSettings => ({
    need: `a JWT (${key.algorithms.filter((name) => name !== "Ed25519").join(", ")})`,
    check: (token) => verifyJwt(token, key, claims),
  });

  if (authTokenFile !== undefined) {
    return async () => {
      const secrets = parseSecrets(await readText("authTokenFile", authTokenFile), authTokenFile);
      for (const warning of secrets.warnings) log.warn(warning);
      const count = secrets.digests.length;
      return {
        need: count === 1 ? "the shared secret" : `one of ${count} shared secrets`,
        check: (token) =>
          isSharedSecret(token, secrets)
            ? { ok: true, claims: {} }
            : tokenInvalid("the token is none of the shared secrets"),
      };
    };
  }
  if (jwtSecretFile !== undefined) {
    return async () => jwt(await secretKey(await readText("jwtSecretFile", jwtSecretFile), jwtSecretFile));
  }
  if (jwtPublicKeyFile !== undefined) {
    return async () => jwt(await publicKey(await readText("jwtPublicKeyFile", jwtPublicKeyFile), jwtPublicKeyFile));
  }
  if (jwksUrl === undefined) return undefined;
  if (settings.jwtAudience === undefined) {
    log.warn("--jwks-url without --jwt-audience takes every token of its issuer, also those meant for other services");
  }
  const keys = remoteKeys(new URL(jwksUrl), log, options.keySetTimes);
  let fetched: Promise<void> | undefined;
  return async () => {
    await (fetched ??= keys.fetch());
    return jwt(keys);
  };
}

async function readText(key: keyof AuthSettings, path: string): Promise<string> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    throw new StartError(`Cannot read ${flagOf(key)} ${path}: ${messageOf(error)}`);
  }
}
