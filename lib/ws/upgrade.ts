/**
 * Turns a handshake into a peer: calls the app's `upgrade` hook, then `Deno.upgradeWebSocket` (the only call of it).
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
import type { RefusalCause } from "./service_counters.ts";

/** The service's subprotocol. A browser offers it in addition to `bearer.TOKEN`, so that the service can choose it. */
export const SUBPROTOCOL = "wss.v1";

/** The refusal while the service is stopping. */
export const STOPPING: Refusal = {
  status: 503,
  reason: "The service is stopping. Try again.",
  headers: { "retry-after": "1" },
};

/** The refusal for a user that has reached its connection limit. */
const USER_LIMIT_REACHED: Refusal = {
  status: 503,
  reason: "Connection limit of this user reached. Close another connection first.",
  headers: { "retry-after": "10" },
};

/** The refusal if the client has disconnected. It is never delivered. */
export const CLIENT_DISCONNECTED: Refusal = { status: 400, reason: "The client disconnected." };

/** The refusal if the app takes too long. */
const APP_TIMEOUT: Refusal = {
  status: 503,
  reason: "The app on this server did not answer the handshake in time.",
  headers: { "retry-after": "10" },
};

/**
 * Upgrades the request, or refuses it if the app does. A handler that throws after the upgrade ends Deno's listener, so
 * everything that can fail runs before it. A refusal releases the connection's slot.
 */
export function upgrade(handshake: Handshake, shared: PeerDependencies): Awaitable<Response> {
  const { app, counters, notices, openTimeout } = shared;
  if (app.upgrade === undefined) return completeHandshake(handshake, shared, undefined);
  let pending: Promise<unknown>;
  try {
    const request = handshake.visibleRequest();
    const result: unknown = counters.measure("upgrade", () => app.upgrade!(request));
    if (!isRecord(result) || typeof result.then !== "function") return handleResult(handshake, shared, result);
    pending = Promise.resolve(result);
  } catch (thrown) {
    return refuse(handshake, shared, "app", errorResponse(thrown, shared));
  }

  return waitWhileConnected(pending, requestSignal(handshake.request), openTimeout).then((waited) => {
    if (waited.kind === "done") return handleResult(handshake, shared, waited.value);
    if (waited.kind === "failed") return refuse(handshake, shared, "app", errorResponse(waited.error, shared));
    // The client has been answered, so the hook's result is discarded.
    pending.then((late) => late instanceof Response ? late.body?.cancel() : undefined).catch((error) => {
      shared.log.debug("the app's upgrade hook failed after its client was answered", { error: messageOf(error) });
    });
    if (waited.kind === "disconnected") return refuse(handshake, shared, "gone", refusalResponse(CLIENT_DISCONNECTED));
    notices.warn("the app's upgrade hook did not answer in time", { ms: openTimeout, address: handshake.address });
    return refuse(handshake, shared, "timeout", refusalResponse(APP_TIMEOUT));
  });
}

/** Handles the hook's result: refuses, or completes the handshake. */
function handleResult(handshake: Handshake, shared: PeerDependencies, result: unknown): Response {
  let headers: Headers;
  try {
    if (result instanceof Response) return refuse(handshake, shared, "app", checkSendable(result));
    headers = applyResult(handshake, shared, result);
  } catch (error) {
    return refuse(handshake, shared, "app", reportAppError(shared, error));
  }
  if (shared.isRefusing()) return refuse(handshake, shared, "stopping", refusalResponse(STOPPING));
  return completeHandshake(handshake, shared, headers);
}

/** The response for an exception of the hook: a thrown Response, or else a 500. */
function errorResponse(thrown: unknown, shared: PeerDependencies): Response {
  try {
    // Errors of h3 and Nitro carry a response.
    const response = (thrown as { response?: unknown } | null | undefined)?.response ?? thrown;
    if (response instanceof Response) return checkSendable(response);
  } catch (error) {
    return reportAppError(shared, error);
  }
  return reportAppError(shared, thrown);
}

/** Responses that were sent. Sending one again fails, but its `bodyUsed` does not show that. */
const sentResponses = new WeakSet<Response>();

/** @throws {TypeError} for a Response that cannot be sent */
function checkSendable(response: Response): Response {
  if (sentResponses.has(response) || response.bodyUsed || response.body?.locked) {
    throw new TypeError("the returned Response's body is already used; make a new Response each time");
  }
  if (response.status < 200) throw new TypeError(`it returned a Response with status ${response.status}`);
  sentResponses.add(response);
  return response;
}

/**
 * Copies the hook's result into the handshake. Reads it only once and before the upgrade, because its getters may throw.
 * @returns additional headers of the response
 * @throws {TypeError} if the hook returned an invalid value; `false` is invalid, because it may mean a refusal
 */
function applyResult(handshake: Handshake, { warnOnce }: PeerDependencies, result: unknown): Headers {
  if (!isRecord(result ?? {})) {
    throw new TypeError(`a Response, an object or nothing is required, got ${typeof result}`);
  }
  const options = (result ?? {}) as UpgradeResult & { handled?: unknown; perMessageDeflate?: unknown };
  const { headers, protocol, context, namespace, user } = options;
  if (options.handled) {
    throw new TypeError("it returned { handled: true }, which is not supported");
  }
  if (options.perMessageDeflate) warnOnce("perMessageDeflate is ignored: Deno does not support message compression");
  if (!isRecord(context ?? {})) throw new TypeError(`context must be an object, got ${typeof context}`);
  if (namespace !== undefined && typeof namespace !== "string") {
    throw new TypeError(`namespace must be a string, got ${typeof namespace}`);
  }
  if (user !== undefined && typeof user !== "string") {
    throw new TypeError(`user must be a string, got ${typeof user}`);
  }
  const responseHeaders = new Headers(headers);
  const chosen = protocol ?? responseHeaders.get("sec-websocket-protocol") ?? "";
  if (chosen !== "" && !handshake.offered.includes(chosen)) {
    throw new TypeError(`the client did not offer the subprotocol "${chosen}"`);
  }
  handshake.protocol = chosen;
  // Copied, because an app may return one object for all peers, or a frozen one.
  handshake.context = { ...handshake.context, ...context };
  if (namespace) handshake.namespace = namespace;
  handshake.user = user;
  return responseHeaders;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function completeHandshake(handshake: Handshake, shared: PeerDependencies, headers: Headers | undefined): Response {
  const { request, offered, connection, claims } = handshake;
  if (handshake.protocol === "") {
    const fallback = handshake.tokenOffered ? offered[0] : undefined;
    handshake.protocol = offered.includes(SUBPROTOCOL) ? SUBPROTOCOL : fallback ?? "";
  }
  if (claims !== undefined) handshake.context.claims = claims;
  if (handshake.user === undefined) {
    handshake.user = subjectOf(claims);
    if (shared.userLimitReached(handshake.user)) {
      const { status, reason } = USER_LIMIT_REACHED;
      shared.notices.info("refused", { status, reason, address: handshake.address });
      return refuse(handshake, shared, "limit", refusalResponse(USER_LIMIT_REACHED));
    }
  }
  const snapshot = handshake.snapshot();
  let upgraded: Deno.WebSocketUpgrade;
  try {
    if (connection?.upgrading() === false) {
      return refuse(handshake, shared, "gone", refusalResponse(CLIENT_DISCONNECTED));
    }
    // The option `protocol` is not used: it finds a subprotocol only in a list with a space after each comma.
    upgraded = Deno.upgradeWebSocket(request, { idleTimeout: shared.idleTimeouts.seconds });
  } catch (error) {
    shared.log.debug("the upgrade failed", { error: messageOf(error) });
    connection?.closed();
    const refusal = { status: 400, reason: "The connection cannot be upgraded." };
    return refuse(handshake, shared, "handshake", refusalResponse(refusal));
  }
  const { socket, response } = upgraded;
  new WebSocketPeer(socket, handshake, snapshot, shared);
  for (const [name, value] of headers ?? []) {
    if (!HANDSHAKE_HEADERS.test(name)) response.headers.append(name, value);
  }
  if (handshake.protocol !== "") response.headers.set("sec-websocket-protocol", handshake.protocol);
  return response;
}

/** The subject of a token (RFC 7519, section 4.1.2). */
function subjectOf(claims: Record<string, unknown> | undefined): string | undefined {
  return typeof claims?.sub === "string" && claims.sub !== "" ? claims.sub : undefined;
}

/** Headers that the handshake itself sets. The app's values for them would break the response. */
const HANDSHAKE_HEADERS = /^(?:sec-websocket-.*|connection|upgrade|content-length|transfer-encoding)$/;

function refuse(
  handshake: Handshake,
  { counters }: PeerDependencies,
  cause: RefusalCause,
  response: Response,
): Response {
  counters.refused[cause]++;
  handshake.release();
  return response;
}

/** Logs an error of the app and returns the response. The client gets no details, only that the error is the app's. */
function reportAppError({ notices, counters }: PeerDependencies, error: unknown): Response {
  counters.hookErrors.upgrade++;
  notices.error(`the app's upgrade hook failed: ${messageOf(error)}`);
  return refusalResponse({ status: 500, reason: "The app on this server failed; see the service's log." });
}
