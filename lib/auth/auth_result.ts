/**
 * The answers of authentication, and the challenges of RFC 6750 §3 that go with the refusals. No text here ever holds
 * a token.
 * @module
 */

/** The client is who it says. */
export interface Authenticated {
  readonly ok: true;
  /** The payload of its JWT; empty with a shared secret. For `peer.context.claims`. */
  readonly claims: Record<string, unknown>;
  /** When the token stops being good, in ms of the epoch: close the connection with 3000 then. Undefined: never. */
  readonly expiresAt?: number;
  /** The secret or key file that its token was checked with; see `Authenticator.accepts`. Undefined with a key set. */
  readonly keyId?: string;
}

/** It is not, or that cannot be told. */
export interface Unauthenticated {
  readonly ok: false;
  readonly status: 401 | 503;
  /** WWW-Authenticate with 401, Retry-After with 503. */
  readonly headers: Readonly<Record<string, string>>;
  /** For the log. */
  readonly reason: string;
  /** For the client, who is told no more than it needs: one sentence. */
  readonly body: string;
}

const REALM = 'Bearer realm="wss"';

/** Nothing was given: the bare challenge, without an error code (RFC 6750 §3.1). */
export function tokenMissing(reason: string): Unauthenticated {
  return {
    ok: false,
    status: 401,
    headers: { "www-authenticate": REALM },
    reason,
    body: "A token is needed: in Authorization: Bearer TOKEN, or among the subprotocols as bearer.TOKEN.",
  };
}

/** What was given cannot be used. */
export function requestInvalid(problem: string): Unauthenticated {
  return challenged("invalid_request", problem, problem);
}

/**
 * The token is not good.
 * @param description for the client; says nothing about keys or about what would be right
 */
export function tokenInvalid(reason: string, description = "the token is not valid here"): Unauthenticated {
  return challenged("invalid_token", reason, description);
}

/** It cannot be told now whether the token is good. */
export function keysUnavailable(reason: string, retryAfter: number): Unauthenticated {
  return {
    ok: false,
    status: 503,
    headers: { "retry-after": String(retryAfter) },
    reason,
    body: "Tokens cannot be checked at the moment: try again later.",
  };
}

/** The texts are ours, ASCII without quotation marks and backslashes, as a description must be (RFC 6750 §3). */
function challenged(error: string, reason: string, description: string): Unauthenticated {
  return {
    ok: false,
    status: 401,
    headers: { "www-authenticate": `${REALM}, error="${error}", error_description="${description}"` },
    reason,
    body: `${description[0]!.toUpperCase()}${description.slice(1)}.`,
  };
}
