/**
 * The results of authentication, with the challenges of RFC 6750 §3 for refusals. No text here ever holds a token.
 * @module
 */

/** The token is valid. */
export interface Authenticated {
  readonly ok: true;
  /** The payload of the JWT; empty with a shared secret. For `peer.context.claims`. */
  readonly claims: Record<string, unknown>;
  /** When the token expires, in ms since the epoch: close the connection with 3000 then. Undefined: never. */
  readonly expiresAt?: number;
  /** The id of the secret or key that verified the token; see `Authenticator.accepts`. Undefined with a key set. */
  readonly keyId?: string;
}

/** The token is missing, not valid, or cannot be checked now. */
export interface Unauthenticated {
  readonly ok: false;
  readonly status: 401 | 503;
  /** WWW-Authenticate with 401, Retry-After with 503. */
  readonly headers: Readonly<Record<string, string>>;
  /** For the log. */
  readonly reason: string;
  /** For the client: one sentence, with no more detail than it needs. */
  readonly body: string;
}

const REALM = 'Bearer realm="wss"';

/** The request has no token: a challenge without an error code (RFC 6750 §3.1). */
export function tokenMissing(reason: string): Unauthenticated {
  return {
    ok: false,
    status: 401,
    headers: { "www-authenticate": REALM },
    reason,
    body: "A token is required: send Authorization: Bearer TOKEN, or offer the subprotocol bearer.TOKEN.",
  };
}

/** The request is malformed. */
export function requestInvalid(problem: string): Unauthenticated {
  return challenged("invalid_request", problem, problem);
}

/**
 * The token is not valid.
 * @param description for the client; reveals nothing about the keys or the expected claims
 */
export function tokenInvalid(reason: string, description = "the token is not valid here"): Unauthenticated {
  return challenged("invalid_token", reason, description);
}

/** The token cannot be checked at the moment. */
export function keysUnavailable(reason: string, retryAfter: number): Unauthenticated {
  return {
    ok: false,
    status: 503,
    headers: { "retry-after": String(retryAfter) },
    reason,
    body: "Tokens cannot be checked at the moment; try again later.",
  };
}

/** Descriptions are fixed texts in ASCII without quotation marks or backslashes, as RFC 6750 §3 requires. */
function challenged(error: string, reason: string, description: string): Unauthenticated {
  return {
    ok: false,
    status: 401,
    headers: { "www-authenticate": `${REALM}, error="${error}", error_description="${description}"` },
    reason,
    body: `${description[0]!.toUpperCase()}${description.slice(1)}.`,
  };
}
