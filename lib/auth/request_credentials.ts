/**
 * Where a request carries its token, and what the request is without it.
 * @module
 */

/** The part of a request that may carry a token. */
export interface AuthRequest {
  readonly headers: Headers;
  /** The request's URL, absolute or from the path on. */
  readonly url: string;
  /** The subprotocols that the client offers, in its order. */
  readonly offered: readonly string[];
}

/** A request taken apart. */
export interface Credentials {
  /** Undefined where there is none, and where `problem` is set. */
  readonly token: string | undefined;
  /** Why what there is cannot be used; names no token. */
  readonly problem: string | undefined;
  /** The offered subprotocols without the token's: the only ones that may be chosen, echoed or shown to an app. */
  readonly offered: readonly string[];
  /** The URL without `?token=`, where that is read: for the app and the log. */
  readonly url: string;
  /** There is a `?token=`, and it is not read. */
  readonly ignoredQuery: boolean;
}

/** What precedes the token in the subprotocol list: a browser can set no other header of the handshake. */
export const BEARER_PROTOCOL = "bearer.";

/** A longer token is refused unread. Deno takes a head of some 64 KB; tokens of identity providers stay under 4 KiB. */
export const MAX_TOKEN_LENGTH = 8 * 1024;

/** `b64token` of RFC 6750 §2.1, which a JWT is. */
export function isBearerToken(text: string): boolean {
  return text.length <= MAX_TOKEN_LENGTH && /^[A-Za-z0-9._~+/-]+=*$/.test(text);
}

/**
 * Finds the token in `Authorization: Bearer` (RFC 6750 §2.1; another scheme is somebody else's), in the subprotocol
 * list (`wss.v1, bearer.TOKEN`) and, where `query` allows it, in `?token=` (§2.3). The same token may come twice; two
 * different ones, and one that is malformed, are a problem.
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
    ? "the request carries two different tokens; one is needed"
    : token !== undefined && !isBearerToken(token)
    ? `the token is malformed: up to ${MAX_TOKEN_LENGTH} characters of A-Z a-z 0-9 - . _ ~ + / are needed, then = (RFC 6750)`
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
 * A URL without its `token` parameters, the rest as it was, and their values. A `+` stays a `+`, as b64token has no
 * space; a parameter is found under any spelling that URLSearchParams would read as `token`.
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
    // Not UTF-8 after decoding: neither the name nor a token, and left as it is.
    return text;
  }
}
