/**
 * From a handshake to a peer: the app's `upgrade` hook, then the only `Deno.upgradeWebSocket`.
 * @module
 */
import { messageOf } from "../errors.ts";
import { requestSignal } from "../unstable_features.ts";
import type { Handshake } from "../handshake/handshake_context.ts";
import { type Refusal, refusalResponse } from "../handshake/refusal.ts";
import { waitWhileConnected } from "../handshake/wait_while_connected.ts";
import type { Awaitable, UpgradeResult } from "./app_types.ts";
import { WebSocketPeer } from "./peer.ts";
import type { PeerDependencies } from "./peer_dependencies.ts";

/** The service's own subprotocol: what a browser offers beside `bearer.TOKEN`, so that there is one to choose. */
export const SUBPROTOCOL = "wss.v1";

/** The answer while the service stops. */
export const STOPPING: Refusal = {
  status: 503,
  reason: "The service is stopping: connect again.",
  headers: { "retry-after": "1" },
};

/** The answer to a user with as many connections as it may have. */
const USER_FULL: Refusal = {
  status: 503,
  reason: "This user has as many connections as it may have: close one.",
  headers: { "retry-after": "10" },
};

/** The answer to nobody: the client left while it was asked about. */
export const GONE: Refusal = { status: 400, reason: "The client has gone." };

/** The answer where an app takes too long. */
const LATE: Refusal = {
  status: 503,
  reason: "The app on this server did not answer the handshake in time.",
  headers: { "retry-after": "10" },
};

/**
 * Upgrades the request, or refuses it for the app. A handler that upgrades and then throws ends Deno's listener, so
 * all that can fail comes first. Gives the place back where it refuses.
 */
export function upgrade(handshake: Handshake, rules: PeerDependencies): Awaitable<Response> {
  const { app, notices, openTimeout } = rules;
  if (app.upgrade === undefined) return complete(handshake, rules, undefined);
  let pending: Promise<unknown>;
  try {
    const result: unknown = app.upgrade(handshake.visibleRequest());
    if (!isRecord(result) || typeof result.then !== "function") return conclude(handshake, rules, result);
    pending = Promise.resolve(result);
  } catch (thrown) {
    return refuse(handshake, answerTo(thrown, rules));
  }

  return waitWhileConnected(pending, requestSignal(handshake.request), openTimeout).then((waited) => {
    if (waited.kind === "done") return conclude(handshake, rules, waited.value);
    if (waited.kind === "failed") return refuse(handshake, answerTo(waited.error, rules));
    // Whatever the hook comes to, nobody waits for it.
    pending.then((late) => late instanceof Response ? late.body?.cancel() : undefined).catch((error) => {
      rules.log.debug("the app's upgrade hook failed after its client was answered", { error: messageOf(error) });
    });
    if (waited.kind === "gone") return refuse(handshake, refusalResponse(GONE));
    notices.warn("the app's upgrade hook did not answer in time", { ms: openTimeout, address: handshake.address });
    return refuse(handshake, refusalResponse(LATE));
  });
}

/** What the hook came to: a refusal, or a handshake to be completed. */
function conclude(handshake: Handshake, rules: PeerDependencies, result: unknown): Response {
  let headers: Headers;
  try {
    if (result instanceof Response) return refuse(handshake, usable(result));
    headers = read(handshake, rules, result);
  } catch (error) {
    return refuse(handshake, mistake(rules, `the app's upgrade hook failed: ${messageOf(error)}`));
  }
  if (rules.refusing()) return refuse(handshake, refusalResponse(STOPPING));
  return complete(handshake, rules, headers);
}

/** What a hook threw: a Response that refuses, or its own mistake. */
function answerTo(thrown: unknown, rules: PeerDependencies): Response {
  try {
    // Errors of h3 and Nitro carry their answer.
    const answer = (thrown as { response?: unknown } | null | undefined)?.response ?? thrown;
    if (answer instanceof Response) return usable(answer);
  } catch (error) {
    return mistake(rules, `the app's upgrade hook failed: ${messageOf(error)}`);
  }
  return mistake(rules, `the app's upgrade hook failed: ${messageOf(thrown)}`);
}

/** Responses of apps: of one that Deno has sent `bodyUsed` is still false, and it fails when it is sent again. */
const sent = new WeakSet<Response>();

/** @throws {TypeError} for a Response that cannot be sent */
function usable(response: Response): Response {
  if (sent.has(response) || response.bodyUsed || response.body?.locked) {
    throw new TypeError("the body of the Response that it returned was used already; make a new Response each time");
  }
  if (response.status < 200) throw new TypeError(`it returned a Response with status ${response.status}`);
  sent.add(response);
  return response;
}

/**
 * Takes what the app answered into the handshake, once and before the upgrade: a getter of its own may throw.
 * @returns further headers of the answer
 * @throws {TypeError} when it is nothing that the hook may return: who returns `false` means a refusal.
 */
function read(handshake: Handshake, { warnOnce }: PeerDependencies, result: unknown): Headers {
  if (!isRecord(result ?? {})) {
    throw new TypeError(`it returned a ${typeof result}; a Response refuses, nothing or an object accepts`);
  }
  const answer = (result ?? {}) as UpgradeResult & { handled?: unknown; perMessageDeflate?: unknown };
  const { headers, protocol, context, namespace, user } = answer;
  if (answer.handled) {
    throw new TypeError("it returned { handled: true }, and an upgrade cannot be handled elsewhere here");
  }
  if (answer.perMessageDeflate) warnOnce("perMessageDeflate is ignored: Deno has no compression of messages");
  if (!isRecord(context ?? {})) throw new TypeError(`its context is a ${typeof context}, and must be an object`);
  if (namespace !== undefined && typeof namespace !== "string") {
    throw new TypeError(`its namespace is a ${typeof namespace}, and must be a string`);
  }
  if (user !== undefined && typeof user !== "string") {
    throw new TypeError(`its user is a ${typeof user}, and must be a string`);
  }
  const given = new Headers(headers);
  const chosen = protocol ?? given.get("sec-websocket-protocol") ?? "";
  if (chosen !== "" && !handshake.offered.includes(chosen)) {
    throw new TypeError(`it chose the subprotocol "${chosen}", which the client did not offer`);
  }
  handshake.protocol = chosen;
  // A copy: an app may return one object for all its peers, or a frozen one.
  handshake.context = { ...handshake.context, ...context };
  if (namespace) handshake.namespace = namespace;
  handshake.user = user;
  return given;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function complete(handshake: Handshake, rules: PeerDependencies, headers: Headers | undefined): Response {
  const { request, offered, connection, claims } = handshake;
  if (handshake.protocol === "") {
    const fallback = handshake.tokenOffered ? offered[0] : undefined;
    handshake.protocol = offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : fallback ?? "";
  }
  if (claims !== undefined) handshake.context.claims = claims;
  if (handshake.user === undefined) {
    handshake.user = subjectOf(claims);
    if (rules.userIsFull(handshake.user)) {
      const { status, reason } = USER_FULL;
      rules.notices.info("refused", { status, reason, address: handshake.address });
      return refuse(handshake, refusalResponse(USER_FULL));
    }
  }
  const snapshot = handshake.snapshot();
  let upgraded: Deno.WebSocketUpgrade;
  try {
    if (connection?.upgrading() === false) return refuse(handshake, refusalResponse(GONE));
    // Without its option `protocol`: that one finds a subprotocol only in a list with a space after each comma.
    upgraded = Deno.upgradeWebSocket(request, { idleTimeout: rules.idleTimeout / 1000 });
  } catch (error) {
    rules.log.debug("the upgrade failed", { error: messageOf(error) });
    connection?.gone();
    return refuse(handshake, refusalResponse({ status: 400, reason: "The connection cannot be upgraded." }));
  }
  const { socket, response } = upgraded;
  new WebSocketPeer(socket, handshake, snapshot, rules);
  for (const [name, value] of headers ?? []) {
    if (!HANDSHAKE.test(name)) response.headers.append(name, value);
  }
  if (handshake.protocol !== "") response.headers.set("sec-websocket-protocol", handshake.protocol);
  return response;
}

/** Whom a token is about (RFC 7519, section 4.1.2). */
function subjectOf(claims: Record<string, unknown> | undefined): string | undefined {
  return typeof claims?.sub === "string" && claims.sub !== "" ? claims.sub : undefined;
}

/** What the answer says itself: another word of the app's would break it. */
const HANDSHAKE = /^(?:sec-websocket-.*|connection|upgrade|content-length|transfer-encoding)$/;

function refuse(handshake: Handshake, response: Response): Response {
  handshake.release();
  return response;
}

/** The app's mistake, not the client's: the log says what it is, the client only that it was not its own. */
function mistake({ notices }: PeerDependencies, problem: string): Response {
  notices.error(problem);
  return refusalResponse({ status: 500, reason: "The app on this server failed; its log says why." });
}
