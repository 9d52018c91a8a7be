/**
 * Checks the token of a handshake. The settings choose the kind of token; the keys can be reloaded while the service
 * runs.
 * @module
 */
import { messageOf, readFailure, StartError, UsageError } from "../errors.ts";
import { type Logger, silent } from "../log.ts";
import { flagOf } from "../config/option_table.ts";
import { decodeText } from "../text_file.ts";
import { type AuthRequest, findCredentials } from "./request_credentials.ts";
import { type KeySetTimes, remoteKeys } from "./jwks.ts";
import { verifyJwt } from "./jwt.ts";
import { type JwtKey, publicKey, secretKey } from "./jwt_key.ts";
import { type AuthSettings, validateAuthOptions } from "./validate_auth_options.ts";
import { findSharedSecret, NoSecretError, parseSecrets, secretIds } from "./shared_secrets.ts";
import { type Authenticated, requestInvalid, tokenInvalid, tokenMissing, type Unauthenticated } from "./auth_result.ts";

/** The request without its token: the only form that an app, a header or a log may see. */
export interface Stripped {
  /** The URL, without `?token=` if `authQuery` is set. */
  readonly url: string;
  /** The offered subprotocols without `bearer.TOKEN`. */
  readonly offered: readonly string[];
}

/** The result for one handshake, with the request without its token. */
export type AuthResult = (Authenticated | Unauthenticated) & Stripped;

/** Checks the tokens of handshakes. */
export interface Authenticator {
  /** The kind of token that clients must present: `one of 2 shared secrets`, `a JWT (HS256)`. */
  readonly requiredToken: string;
  /**
   * Checks one handshake; never throws and never rejects. The result is immediate for shared secrets and a promise for
   * JWTs. Read all required data from the request before calling this.
   */
  authenticate(request: AuthRequest): AuthResult | Promise<AuthResult>;
  /** The file with the secrets or the key; undefined with a key set. */
  readonly file: string | undefined;
  /** Whether the secret or key that a client authenticated with is still accepted. */
  accepts(keyId: string | undefined): boolean;
  /**
   * Whether the file no longer contains a secret or key that is accepted now.
   * @throws {StartError} if the file is not usable
   */
  removesKeys(): Promise<boolean>;
  /**
   * Reads the file again; from then on its keys are accepted and no others. If it is empty or missing, no token is
   * valid. A fetched key set is kept, because it renews itself.
   * @throws {StartError} if the file is not usable; the previous keys stay accepted
   */
  reload(): Promise<void>;
}

/** Options of {@link createAuthenticator}. */
export interface AuthenticatorOptions {
  /** Receives warnings about weak secrets and key sets that cannot be fetched. Default: silent. */
  readonly log?: Logger;
  readonly keySetTimes?: KeySetTimes;
}

type Check = (token: string) => Authenticated | Unauthenticated | Promise<Authenticated | Unauthenticated>;

/** The keys that are accepted now. */
interface LoadedKeys {
  readonly requiredToken: string;
  readonly check: Check;
  /** The ids of the secrets or of the key; undefined for a key set, whose keys cannot be revoked here. */
  readonly ids: ReadonlySet<string> | undefined;
  readonly warnings: readonly string[];
}

/**
 * Creates the authenticator that the settings ask for; undefined if they ask for none.
 * @throws {UsageError} if the settings contradict each other
 * @throws {StartError} if a file is missing or not usable. If a key set cannot be fetched, that is logged; handshakes get
 * 503 unless a set that was fetched within the last 24 hours has their key.
 */
export async function createAuthenticator(
  settings: AuthSettings,
  options: AuthenticatorOptions = {},
): Promise<Authenticator | undefined> {
  const problems = validateAuthOptions(settings);
  if (problems.length > 0) throw new UsageError(problems);
  const source = sourceOf(settings, options);
  if (source === undefined) return undefined;
  const { log = silent } = options;
  const use = (keys: LoadedKeys): LoadedKeys => {
    for (const warning of keys.warnings) log.warn(warning);
    return keys;
  };
  let current = use(await source.load());
  const reread = (): Promise<LoadedKeys> =>
    source.load().catch((error) => {
      if (error instanceof NoSecretError) return noKeys(error.message);
      throw error;
    });

  return {
    get requiredToken() {
      return current.requiredToken;
    },
    file: source.file,
    authenticate(request) {
      const { token, problem, ignoredQuery, ...stripped } = findCredentials(request, settings.authQuery);
      if (problem !== undefined) return { ...requestInvalid(problem), ...stripped };
      if (token === undefined) {
        const hint = ignoredQuery ? "; ?token= is read only with --auth-query" : "";
        return { ...tokenMissing(`the request has no token${hint}`), ...stripped };
      }
      const verdict = current.check(token);
      return verdict instanceof Promise
        ? verdict.then((result) => ({ ...result, ...stripped }))
        : { ...verdict, ...stripped };
    },
    accepts: (keyId) => keyId === undefined || current.ids === undefined || current.ids.has(keyId),
    async removesKeys() {
      const { ids } = await reread();
      return ids !== undefined && current.ids !== undefined && !current.ids.isSubsetOf(ids);
    },
    async reload() {
      current = use(await reread());
    },
  };
}

/** Where the keys come from. */
interface KeySource {
  /** The file with the keys; undefined for a key set. */
  readonly file: string | undefined;
  /** @throws {NoSecretError} if the file is missing or empty @throws {StartError} if the keys are not usable */
  load(): Promise<LoadedKeys>;
}

function sourceOf(settings: AuthSettings, options: AuthenticatorOptions): KeySource | undefined {
  const { authTokenFile, jwtSecretFile, jwtPublicKeyFile, jwksUrl } = settings;
  const { log = silent } = options;
  const claims = { audience: settings.jwtAudience, issuer: settings.jwtIssuer };
  const describeToken = ({ algorithms }: JwtKey) =>
    `a JWT (${algorithms.filter((name) => name !== "Ed25519").join(", ")})`;

  if (authTokenFile !== undefined) {
    return {
      file: authTokenFile,
      async load() {
        const text = decoded(await readFile("authTokenFile", authTokenFile), authTokenFile);
        const secrets = parseSecrets(text, authTokenFile);
        const count = secrets.digests.length;
        return {
          requiredToken: count === 1 ? "the shared secret" : `one of ${count} shared secrets`,
          check(token) {
            const keyId = findSharedSecret(token, secrets);
            if (keyId === undefined) return tokenInvalid("the token matches no shared secret");
            return { ok: true, claims: {}, keyId };
          },
          ids: secretIds(secrets),
          warnings: secrets.warnings,
        };
      },
    };
  }
  const jwt = async (option: "jwtSecretFile" | "jwtPublicKeyFile", file: string): Promise<LoadedKeys> => {
    const content = await readFile(option, file);
    if (content.every((byte) => byte <= 0x20)) throw new NoSecretError(`${file} is empty`);
    const key = option === "jwtSecretFile"
      ? await secretKey(content, file)
      : await publicKey(decoded(content, file), file);
    return {
      requiredToken: describeToken(key),
      check: async (token) => {
        const result = await verifyJwt(token, key, claims);
        return result.ok ? { ...result, keyId: key.id } : result;
      },
      ids: new Set([key.id]),
      warnings: key.warnings,
    };
  };
  if (jwtSecretFile !== undefined) return { file: jwtSecretFile, load: () => jwt("jwtSecretFile", jwtSecretFile) };
  if (jwtPublicKeyFile !== undefined) {
    return { file: jwtPublicKeyFile, load: () => jwt("jwtPublicKeyFile", jwtPublicKeyFile) };
  }
  if (jwksUrl === undefined) return undefined;
  if (settings.jwtAudience === undefined) {
    log.warn(
      "--jwks-url without --jwt-audience accepts every token of the issuer, including those meant for other services",
    );
  }
  const keys = remoteKeys(new URL(jwksUrl), log, options.keySetTimes);
  let fetched: Promise<void> | undefined;
  return {
    file: undefined,
    async load() {
      await (fetched ??= keys.fetch());
      return {
        requiredToken: describeToken(keys),
        check: (token) => verifyJwt(token, keys, claims),
        ids: undefined,
        warnings: [],
      };
    },
  };
}

/** Used when the file is empty or missing: no token is valid. */
function noKeys(reason: string): LoadedKeys {
  return {
    requiredToken: "a token, but none is valid",
    check: () => tokenInvalid("no token is valid: the file with the secrets or the key is empty or missing"),
    ids: new Set(),
    warnings: [`${reason}: no token is valid any more`],
  };
}

async function readFile(key: keyof AuthSettings, path: string): Promise<Uint8Array<ArrayBuffer>> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    const message = `Cannot read ${flagOf(key)} ${path}: ${readFailure(error)}`;
    throw error instanceof Deno.errors.NotFound ? new NoSecretError(message) : new StartError(message);
  }
}

function decoded(content: Uint8Array, file: string): string {
  try {
    return decodeText(content);
  } catch (error) {
    throw new StartError(`Cannot read ${file}: ${messageOf(error)}`);
  }
}
