/**
 * From a request to a peer: the app's `upgrade` hook, then the only `Deno.upgradeWebSocket`.
 * @module
 */
import { requestSignal } from "../unstable.ts";
import { messageOf } from "../errors.ts";
import type { Awaitable, UpgradeResult } from "./app_types.ts";
import type { Slot } from "./limits.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import { WebSocketPeer } from "./peer.ts";
import type { PeerDependencies } from "./peer_dependencies.ts";
import { type Refusal, refusalResponse } from "../handshake/refusal.ts";
import { headersOf, RequestSnapshot } from "./request_snapshot.ts";

/** What is known of a client whose handshake was found in order. */
export interface Admitted {
  /** What it offers, without a token. */
  readonly protocols: readonly string[];
  /** Its token stood among them: a browser, which fails where none of the others is chosen (seen in Chromium). */
  readonly tokenOffered: boolean;
  readonly remoteAddress: string | undefined;
  /** Seconds; 0 is off. */
  readonly idleTimeout: number;
  /** Its place among the connections. The peer gives it back, or the refusal does. */
  readonly slot: Slot;
  /** The request as an app may see it: without a token. */
  readonly url: string;
  readonly headers: Headers;
  /** Of its token; the app finds them at `context.claims`. */
  readonly claims: Record<string, unknown> | undefined;
  /** When the token ends, ms of the epoch. */
  readonly expiresAt: number | undefined;
  /** What the watchdog knows of the connection; undefined where there is no watchdog. */
  readonly connection: WatchedConnection | undefined;
}

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

/**
 * Upgrades the request, or refuses it for the app. A handler that upgrades and then throws ends Deno's listener, so
 * all that can fail comes first.
 */
export function upgrade(request: Request, client: Admitted, rules: PeerDependencies): Awaitable<Response> {
  const { slot } = client;
  if (rules.app.upgrade === undefined) return complete(request, client, rules, undefined);
  // Read before any await: only then does Deno tell when the client goes in between.
  const signal = requestSignal(request);
  const seen = client.headers === request.headers
    ? request
    : new Request(client.url, { headers: client.headers, signal });
  return consult(seen, rules).then((answer) => {
    if (answer instanceof Response) return refuse(slot, answer);
    if (signal.aborted) return refuse(slot, refusalResponse(GONE));
    if (rules.refusing()) return refuse(slot, refusalResponse(STOPPING));
    return complete(request, client, rules, answer);
  });
}

/** What the app answered, read once and before the upgrade: a getter of its own may throw. */
interface Answer {
  readonly headers: Headers;
  readonly protocol: string | undefined;
  readonly context: Record<string, unknown>;
  readonly namespace: string | undefined;
  readonly user: string | undefined;
}

/** Asks the app. What it throws is a Response that refuses, or its own mistake. */
async function consult(request: Request, { app, log }: PeerDependencies): Promise<Answer | Response> {
  try {
    const result: unknown = await app.upgrade?.(request);
    return result instanceof Response ? result : read(result);
  } catch (thrown) {
    // Errors of h3 and Nitro carry their answer.
    const answer = (thrown as { response?: unknown } | null | undefined)?.response ?? thrown;
    if (answer instanceof Response) return answer;
    return mistake(log, `the app's upgrade hook failed: ${messageOf(thrown)}`);
  }
}

/** @throws {TypeError} when it is nothing that the hook may return: who returns `false` means no welcome. */
function read(result: unknown): Answer {
  if (!isRecord(result ?? {})) {
    throw new TypeError(`it returned a ${typeof result}; a Response refuses, nothing or an object welcomes`);
  }
  const { headers, protocol, context, namespace, user } = (result ?? {}) as UpgradeResult;
  if (!isRecord(context ?? {})) throw new TypeError(`its context is a ${typeof context}, and must be an object`);
  if (user !== undefined && typeof user !== "string") {
    throw new TypeError(`its user is a ${typeof user}, and must be a string`);
  }
  const given = new Headers(headers);
  return {
    headers: given,
    protocol: protocol ?? given.get("sec-websocket-protocol") ?? undefined,
    // A copy: an app may return one object for all its peers, or a frozen one.
    context: { ...context },
    namespace,
    user,
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function complete(request: Request, client: Admitted, rules: PeerDependencies, answer: Answer | undefined): Response {
  const { protocols, slot, idleTimeout, connection } = client;
  const { log } = rules;
  const chosen = answer?.protocol;
  if (chosen !== undefined && !protocols.includes(chosen)) {
    const problem = `the app's upgrade hook chose the subprotocol "${chosen}", which the client did not offer`;
    return refuse(slot, mistake(log, problem));
  }
  const fallback = client.tokenOffered ? protocols[0] : undefined;
  const protocol = chosen ?? (protocols.includes(SUBPROTOCOL) ? SUBPROTOCOL : fallback ?? "");
  const context = { ...answer?.context, ...client.claims && { claims: client.claims } };
  const user = answer?.user ?? subjectOf(client.claims);
  if (answer?.user === undefined && rules.userIsFull(user)) {
    const { status, reason } = USER_FULL;
    rules.notices.info("refused", { status, reason, address: client.remoteAddress });
    return refuse(slot, refusalResponse(USER_FULL));
  }
  let snapshot: RequestSnapshot;
  let upgraded: Deno.WebSocketUpgrade;
  try {
    const seen = client.headers === request.headers ? headersOf(request) : client.headers;
    snapshot = new RequestSnapshot(client.url, seen);
    if (connection?.upgrading() === false) return refuse(slot, refusalResponse(GONE));
    upgraded = Deno.upgradeWebSocket(request, protocol === "" ? { idleTimeout } : { idleTimeout, protocol });
  } catch (error) {
    // The app's hook may have upgraded it itself; then Deno closes the listener, which comes back.
    log.debug("the upgrade failed", { error: messageOf(error) });
    connection?.gone();
    return refuse(slot, refusalResponse({ status: 400, reason: "The connection cannot be upgraded." }));
  }
  const { socket, response } = upgraded;
  const { remoteAddress, expiresAt } = client;
  const namespace = answer?.namespace;
  new WebSocketPeer(
    { socket, request: snapshot, remoteAddress, protocol, context, namespace, user, slot, expiresAt, connection },
    rules,
  );
  for (const [name, value] of answer?.headers ?? []) {
    if (!HANDSHAKE.test(name)) response.headers.append(name, value);
  }
  return response;
}

/** Whom a token is about (RFC 7519, section 4.1.2). */
function subjectOf(claims: Record<string, unknown> | undefined): string | undefined {
  return typeof claims?.sub === "string" && claims.sub !== "" ? claims.sub : undefined;
}

/** What the answer says itself: another word of the app's would break it. */
const HANDSHAKE = /^(?:sec-websocket-.*|connection|upgrade|content-length|transfer-encoding)$/;

function refuse(slot: Slot, response: Response): Response {
  slot.release();
  return response;
}

/** The app's mistake, not the client's: the log says what it is, the client only that it was not its own. */
function mistake(log: PeerDependencies["log"], problem: string): Response {
  log.error(problem);
  return refusalResponse({ status: 500, reason: "The app on this server failed; its log says why." });
}
