/**
 * A remote JSON Web Key Set (RFC 7517 §5): fetched, cached, and fetched again when a token names an unknown key.
 * @module
 */
import { createLocalJWKSet, createRemoteJWKSet, customFetch, errors, type JWTVerifyGetKey } from "jose";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type JwtKey, PUBLIC_ALGORITHMS } from "./jwt_key.ts";

/** The key set could not be fetched, so tokens cannot be checked. */
export class KeySetUnavailable extends Error {
  override readonly name = "KeySetUnavailable";
}

/** Times for fetching a key set, in milliseconds. */
export interface KeySetTimes {
  /** How long a fetch may take. Default 5,000. */
  readonly timeout?: number;
  /** After a successful fetch, an unknown key id causes no new fetch for this long. Default 30,000. */
  readonly cooldown?: number;
  /** After a failed fetch, nothing is fetched for this long. Default 5,000. */
  readonly retry?: number;
  /** How long a set is used before it is fetched again. Default 600,000. */
  readonly maxAge?: number;
  /** How long after its fetch a set is used if no newer one can be fetched. Default 86,400,000, a day. */
  readonly maxStale?: number;
}

/** The maximum size of a key set in bytes. Real key sets are far smaller. */
const MAX_BYTES = 1024 ** 2;

/** Retry-After, in seconds, for a client whose token cannot be checked. */
export const KEY_SET_RETRY_AFTER = 5;

/** A remote key set that can be fetched ahead of its first use. */
export interface RemoteKeys extends JwtKey {
  /** Fetches the set. A failure is only logged, because the next token tries again. */
  fetch(): Promise<void>;
}

/**
 * Keys from a URL. Concurrent requests share one fetch, and tokens with unknown keys cause at most one fetch per
 * cooldown. If the set cannot be fetched, the last one stays in use for `maxStale`. Tokens whose key it lacks throw
 * {@link KeySetUnavailable}. Each failed fetch is logged once.
 */
export function remoteKeys(url: URL, log: Logger, times: KeySetTimes = {}): RemoteKeys {
  const { timeout = 5_000, cooldown = 30_000, retry = 5_000, maxAge = 600_000, maxStale = 86_400_000 } = times;
  /** Set while the last fetch has failed. */
  let failure: { readonly error: KeySetUnavailable; readonly until: number } | undefined;
  /** The last set that was fetched. */
  let last: { readonly find: ReturnType<typeof createLocalJWKSet>; readonly until: number } | undefined;

  async function fetchSet(target: string, init: RequestInit): Promise<Response> {
    if (failure !== undefined && performance.now() < failure.until) throw failure.error;
    try {
      const text = await readSet(target, init);
      last = { find: createLocalJWKSet(JSON.parse(text)), until: performance.now() + maxStale };
      failure = undefined;
      return new Response(text);
    } catch (cause) {
      const error = new KeySetUnavailable(`the key set ${url.origin}${url.pathname}: ${messageOf(cause)}`, { cause });
      failure = { error, until: performance.now() + retry };
      log.warn("cannot fetch the keys for tokens", { reason: error.message });
      throw error;
    }
  }

  const remote = createRemoteJWKSet(url, {
    timeoutDuration: timeout,
    cooldownDuration: cooldown,
    cacheMaxAge: maxAge,
    [customFetch]: fetchSet,
  });

  async function key(...token: Parameters<JWTVerifyGetKey>): Promise<CryptoKey> {
    const fetched = remote(...token);
    fetched.catch(() => {});
    // During an outage a token whose key is known does not wait for another attempt, which may take the whole timeout. If
    // the last attempt was long ago, it waits: the key may have been removed from the set since.
    if (failure === undefined || performance.now() > failure.until + 2 * timeout) {
      try {
        return await fetched;
      } catch (error) {
        if (!(error instanceof KeySetUnavailable)) throw error;
      }
    }
    if (last !== undefined && performance.now() < last.until) {
      try {
        return await last.find(...token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
      }
    }
    return await fetched;
  }

  return { algorithms: PUBLIC_ALGORITHMS, key, fetch: () => remote.reload().catch(() => {}) };
}

async function readSet(target: string, init: RequestInit): Promise<string> {
  const response = await fetch(target, init);
  if (response.status !== 200) {
    await response.body?.cancel();
    throw new Error(`status 200 is required, the server answered ${response.status}`);
  }
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MAX_BYTES) throw new Error(`the response is larger than ${MAX_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  const set: unknown = JSON.parse(text);
  const keys = typeof set === "object" && set !== null && "keys" in set ? set.keys : undefined;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "object" && key !== null && !Array.isArray(key))) {
    throw new Error('a JSON Web Key Set ({"keys": [...]}) is required, the response is something else');
  }
  return text;
}
