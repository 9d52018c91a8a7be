/**
 * Finds the token of a request, and removes it from what the app and the log see.
 * @module
 */

/** The parts of a request that may contain a token. */
export interface AuthRequest {
  readonly headers: Headers;
  /** The request's URL, absolute or starting with the path. */
  readonly url: string;
  /** The subprotocols that the client offers, in its order. */
  readonly offered: readonly string[];
}

/** The token of a request, and the request without it. */
export interface Credentials {
  /** Undefined if there is none or if `problem` is set. */
  readonly token: string | undefined;
  /** Why the token cannot be used; does not quote it. */
  readonly problem: string | undefined;
  /** The offered subprotocols without the token: only these may be chosen, echoed or shown to an app. */
  readonly offered: readonly string[];
  /** The URL for the app and the log; without `?token=` if the query is read. */
  readonly url: string;
  /** Whether the URL has a `?token=` that was not read. */
  readonly ignoredQuery: boolean;
}

/**
 * The prefix of a token in the subprotocol list. Browsers need it: a page can set no other header of the handshake.
 */
export const BEARER_PROTOCOL = "bearer.";

/**
 * The longest token, in characters. Deno accepts a header section of about 64 KB; identity providers stay under 4 KiB.
 */
export const MAX_TOKEN_LENGTH = 8 * 1024;

/** Whether a text matches `b64token` of RFC 6750 §2.1, as every JWT does. */
export function isBearerToken(text: string): boolean {
  return text.length <= MAX_TOKEN_LENGTH && /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

/**
 * Finds the token in `Authorization: Bearer` (RFC 6750 §2.1; other schemes are ignored), in the subprotocol list
 * (`wss.v1, bearer.TOKEN`) and, if `query` is set, in `?token=` (§2.3). The same token may occur twice. Two different
 * tokens, or a malformed one, are a problem.
 */
export function findCredentials(request: AuthRequest, query: boolean): Credentials {
  const tokens = new Set<string>();
  const authorization = request.headers.get("authorization");
  const bearer = authorization === null ? undefined : /^bearer(?: +(.*))?$/i.exec(authorization);
  if (bearer) tokens.add(bearer[1] ?? "");

  const offered: string[] = [];
  for (const protocol of request.offered) {
    if (protocol.slice(0, BEARER_PROTOCOL.length).toLowerCase() !== BEARER_PROTOCOL) offered.push(protocol);
    else tokens.add(protocol.slice(BEARER_PROTOCOL.length));
  }

  const { url, values } = withoutTokens(request.url);
  if (query) { for (const value of values) tokens.add(value); }

  const [token] = tokens;
  const problem = tokens.size > 1
    ? "the request has two different tokens; exactly one is required"
    : token !== undefined && !isBearerToken(token)
    ? `the token is malformed: up to ${MAX_TOKEN_LENGTH} characters of A-Z a-z 0-9 - . _ ~ + / are allowed, then = (RFC 6750)`
    : undefined;
  return {
    token: problem === undefined ? token : undefined,
    problem,
    offered,
    url: query ? url : request.url,
    ignoredQuery: !query && values.length > 0,
  };
}

/**
 * Splits a URL into its `token` parameters and the rest, which is unchanged. A `+` stays a `+`, because a b64token has
 * no space. A parameter is found under every encoding that URLSearchParams would decode to `token`.
 */
function withoutTokens(url: string): { url: string; values: string[] } {
  const start = url.indexOf("?");
  if (start < 0) return { url, values: [] };
  const hash = url.indexOf("#", start);
  const end = hash < 0 ? url.length : hash;
  const values: string[] = [];
  const kept = url.slice(start + 1, end).split("&").filter((part) => {
    const [name = "", ...rest] = part.split("=");
    if (decoded(name) !== "token") return true;
    values.push(decoded(rest.join("=")));
    return false;
  });
  if (values.length === 0) return { url, values };
  return { url: url.slice(0, start) + (kept.length > 0 ? `?${kept.join("&")}` : "") + url.slice(end), values };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Not UTF-8 after decoding, so neither the parameter's name nor a token.
    return text;
  }
}
