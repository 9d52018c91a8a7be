/**
 * From a request to a peer: the app's `upgrade` hook, then the only `Deno.upgradeWebSocket`.
 * @module
 */
import { messageOf } from "../errors.ts";
import type { Awaitable, UpgradeResult } from "./app.ts";
import type { Accepted } from "./handshake.ts";
import { type PeerRules, WebSocketPeer } from "./peer.ts";
import { refusalResponse } from "./refusal.ts";
import { RequestSnapshot } from "./snapshot.ts";

/** What is known of the client when its handshake was found in order. */
export interface Client {
  readonly remoteAddress: string | undefined;
  /** Seconds; 0 is off. */
  readonly idleTimeout: number;
}

/**
 * Upgrades the request, or refuses it for the app. A handler that upgrades and then throws ends Deno's listener, so
 * all that can fail comes first.
 */
export function upgrade(request: Request, accepted: Accepted, client: Client, rules: PeerRules): Awaitable<Response> {
  const { app } = rules;
  if (app.upgrade === undefined) return complete(request, accepted, client, rules, undefined);
  // Read before any await: only then does Deno tell when the client goes in between.
  const { signal } = request;
  return consult(request, rules).then((result) => {
    if (result instanceof Response) return result;
    if (signal.aborted) return refusalResponse({ status: 400, reason: "The client has gone." });
    return complete(request, accepted, client, rules, result);
  });
}

/** Asks the app. What it throws is a Response that refuses, or its own mistake. */
async function consult(request: Request, { app, log }: PeerRules): Promise<UpgradeResult | Response | undefined> {
  try {
    return await app.upgrade?.(request) ?? undefined;
  } catch (thrown) {
    if (thrown instanceof Response) return thrown;
    return mistake(log, `the app's upgrade hook threw: ${messageOf(thrown)}`);
  }
}

function complete(
  request: Request,
  { protocols }: Accepted,
  { remoteAddress, idleTimeout }: Client,
  rules: PeerRules,
  result: UpgradeResult | undefined,
): Response {
  const { log } = rules;
  let headers: Headers;
  try {
    headers = new Headers(result?.headers);
  } catch (error) {
    return mistake(log, `the app's upgrade hook returned headers that are none: ${messageOf(error)}`);
  }
  const protocol = result?.protocol ?? headers.get("sec-websocket-protocol") ?? "";
  if (protocol !== "" && !protocols.includes(protocol)) {
    return mistake(log, `the app's upgrade hook chose the subprotocol "${protocol}", which the client did not offer`);
  }
  const snapshot = new RequestSnapshot(request.url, request.headers);
  let upgraded: Deno.WebSocketUpgrade;
  try {
    upgraded = Deno.upgradeWebSocket(request, protocol === "" ? { idleTimeout } : { idleTimeout, protocol });
  } catch (error) {
    log.debug("the upgrade failed", { error: messageOf(error) });
    return refusalResponse({ status: 400, reason: "The connection cannot be upgraded." });
  }
  const { socket, response } = upgraded;
  new WebSocketPeer({ socket, request: snapshot, remoteAddress, protocol, context: result?.context ?? {} }, rules);
  for (const [name, value] of headers) {
    if (!name.startsWith("sec-websocket-")) response.headers.append(name, value);
  }
  return response;
}

/** The app's mistake, not the client's: the log says what it is, the client only that it was not its own. */
function mistake(log: PeerRules["log"], problem: string): Response {
  log.error(problem);
  return refusalResponse({ status: 500, reason: "The app on this server failed; its log says why." });
}
