/**
 * A remote JSON Web Key Set (RFC 7517 §5): fetched, cached, and fetched again when a token names an unknown key.
 * @module
 */
import { createRemoteJWKSet, customFetch } from "jose";
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
 * cooldown. If the set cannot be fetched, tokens that need it throw {@link KeySetUnavailable}; each failed fetch is
 * logged once.
 */
export function remoteKeys(url: URL, log: Logger, times: KeySetTimes = {}): RemoteKeys {
  const { timeout = 5_000, cooldown = 30_000, retry = 5_000, maxAge = 600_000 } = times;
  let failure: { readonly error: KeySetUnavailable; readonly until: number } | undefined;

  async function fetchSet(target: string, init: RequestInit): Promise<Response> {
    if (failure !== undefined && performance.now() < failure.until) throw failure.error;
    try {
      const text = await readSet(target, init);
      failure = undefined;
      return new Response(text);
    } catch (cause) {
      const error = new KeySetUnavailable(`the key set ${url.origin}${url.pathname}: ${messageOf(cause)}`, { cause });
      failure = { error, until: performance.now() + retry };
      log.warn("cannot fetch the keys for tokens", { reason: error.message });
      throw error;
    }
  }

  const key = createRemoteJWKSet(url, {
    timeoutDuration: timeout,
    cooldownDuration: cooldown,
    cacheMaxAge: maxAge,
    [customFetch]: fetchSet,
  });
  return { algorithms: PUBLIC_ALGORITHMS, key, fetch: () => key.reload().catch(() => {}) };
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
