/**
 * Keys by URL: a JSON Web Key Set (RFC 7517 §5), fetched, kept, and fetched again when a token names a new key.
 * @module
 */
import { createRemoteJWKSet, customFetch } from "jose";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";
import { type JwtKey, PUBLIC_ALGORITHMS } from "./jwt_key.ts";

/** The key set cannot be had: whether a token is good cannot be told. */
export class KeySetUnavailable extends Error {
  override readonly name = "KeySetUnavailable";
}

/** Milliseconds. */
export interface KeySetTimes {
  /** How long a fetch may take. Default 5,000. */
  readonly timeout?: number;
  /** How long an unknown key's id fetches nothing after a fetch that worked. Default 30,000. */
  readonly cooldown?: number;
  /** How long nothing is fetched after a fetch that did not. Default 5,000. */
  readonly retry?: number;
  /** How long a set is used before it is fetched again. Default 600,000. */
  readonly maxAge?: number;
}

/** No set of signing keys is near it; more would be a mistake or an attack. */
const MOST_BYTES = 1024 ** 2;

/** How many seconds a client refused for want of keys should wait. */
export const KEY_SET_RETRY_AFTER = 5;

/** A remote set, and a way to fetch it now. */
export interface RemoteKeys extends JwtKey {
  /** Fetches it; a failure is logged and forgotten, as the next token tries again. */
  fetch(): Promise<void>;
}

/**
 * Keys from a URL. Requests that wait share one fetch, strangers with bad tokens cause at most one per cooldown, and a
 * set that does not come throws {@link KeySetUnavailable} for the tokens that need it, with one line in the log a try.
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
    throw new Error(`200 is needed, it answered ${response.status}`);
  }
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.length;
    if (bytes > MOST_BYTES) throw new Error(`it is larger than ${MOST_BYTES} bytes`);
    text += decoder.decode(chunk, { stream: true });
  }
  const set: unknown = JSON.parse(text);
  const keys = typeof set === "object" && set !== null && "keys" in set ? set.keys : undefined;
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === "object" && key !== null && !Array.isArray(key))) {
    throw new Error('it is no JSON Web Key Set ({"keys": [...]})');
  }
  return text;
}
