/**
 * What every request goes through, in order: health, path, page, handshake, TLS before the proxy, draining, origin,
 * token, counts. Then it is upgraded.
 * @module
 */
import type { Authenticator, AuthResult } from "../auth/authenticate.ts";
import type { Mode } from "../config/service_mode.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import type { Logger } from "../log.ts";
import { requestSignal } from "../unstable.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Awaitable } from "../ws/app_types.ts";
import { verifyHandshake } from "../handshake/verify_handshake.ts";
import type { Admission, Slot } from "../ws/limits.ts";
import type { OriginRule } from "../handshake/origin.ts";
import type { PeerDependencies } from "../ws/peer_dependencies.ts";
import { type Refusal, refusalResponse } from "../handshake/refusal.ts";
import { headersOf } from "../ws/request_snapshot.ts";
import { GONE, STOPPING, upgrade } from "../ws/upgrade.ts";
import { clientAddress, forwardedHost, proxyTls } from "../handshake/client_address.ts";
import { HEALTH_PATH, healthResponse } from "./health.ts";
import { pageAsset, pageResponse } from "./test_page.ts";

/** What a request is checked against. */
export interface RequestHandlerOptions {
  readonly mode: Mode;
  readonly paths: ReadonlySet<string>;
  readonly page: boolean;
  readonly origin: OriginRule;
  readonly authenticator: Authenticator | undefined;
  readonly admission: Admission;
  readonly peers: PeerDependencies;
  /** Milliseconds; 0 is off. */
  readonly idleTimeout: number;
  /** For refusals: throttled, so that strangers cannot fill it. */
  readonly log: Logger;
  /** Whether the service is about to end. */
  draining(): boolean;
  /** How many peers are connected. */
  connected(): number;
  /** Tells the watchdog of a request; undefined where there is no watchdog. */
  track(peer: Deno.Addr, body: boolean): WatchedConnection | undefined;
}

/** Who asks, as far as it is known. */
interface Client {
  readonly address: string | undefined;
  readonly trustedProxy: boolean;
  readonly connection: WatchedConnection | undefined;
}

/** A client that counts. */
interface Admitted extends Client {
  readonly slot: Slot;
  /** How many subprotocols it offers, its token among them. */
  readonly offered: number;
}

/** What an app may see of a request, and what its token says. */
interface Shown {
  readonly url: string;
  readonly offered: readonly string[];
  readonly claims?: Record<string, unknown>;
  readonly expiresAt?: number;
}

/** Answers requests. */
export class RequestHandler {
  readonly #rules: RequestHandlerOptions;

  constructor(rules: RequestHandlerOptions) {
    this.#rules = rules;
  }

  /** For `Deno.serve`. Never throws for what a client sends. */
  readonly handle = (request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>): Awaitable<Response> => {
    const response = this.#answer(request, info);
    // Over HTTP/2 Deno sends the body to a HEAD too, which ends its stream with PROTOCOL_ERROR (measured).
    return request.method === "HEAD" && response instanceof Response ? withoutBody(response) : response;
  };

  #answer(request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>): Awaitable<Response> {
    const rules = this.#rules;
    const client = this.#client(request, info.remoteAddr);
    if (!hasValidUrl(request)) return this.#refuse(client, { status: 400, reason: "A valid Host is needed." });
    const { pathname, host } = new URL(request.url);

    if (pathname === HEALTH_PATH) return this.#readOnly(client, request, () => this.#health(client));
    const asset = rules.page ? pageAsset(pathname) : undefined;
    if (asset) return this.#readOnly(client, request, () => asset);
    if (!rules.paths.has(pathname)) {
      const welcome = [...rules.paths].join(" and ");
      return this.#refuse(client, { status: 404, reason: `Nothing is here. WebSockets are welcome at ${welcome}.` });
    }

    const verdict = verifyHandshake(request.method, request.headers);
    if (verdict.kind === "plain") return this.#readOnly(client, request, () => this.#plain());
    if (verdict.kind === "refuse") return this.#refuse(client, verdict.refusal);
    const refusal = this.#judge(request, host, client);
    if (refusal) return this.#refuse(client, refusal);

    // Counted before its token is checked: that takes time, and a client over its limit shall not take it.
    const slot = rules.admission.admit(client.address);
    if (!slot.ok) {
      const headers = { "retry-after": String(slot.retryAfter) };
      return this.#refuse(client, { status: slot.status, reason: sentence(slot.reason), headers });
    }
    const { protocols } = verdict.accepted;
    const admitted = { ...client, slot, offered: protocols.length };
    if (rules.authenticator === undefined) {
      return this.#upgrade(request, admitted, { url: request.url, offered: protocols });
    }
    const result = rules.authenticator.authenticate({ headers: request.headers, url: request.url, offered: protocols });
    if (!(result instanceof Promise)) return this.#authenticated(request, admitted, result);
    // Read before the await: only then does Deno tell when the client goes in between.
    const signal = requestSignal(request);
    return result.then((settled) => {
      if (!signal.aborted && !rules.peers.refusing()) return this.#authenticated(request, admitted, settled);
      slot.release();
      return this.#refuse(client, signal.aborted ? GONE : STOPPING);
    });
  }

  #client(request: Request, peer: Deno.Addr): Client {
    const { mode, log, track } = this.#rules;
    // Told of every request, as early as it is known: until then the watchdog counts a connection as unfinished.
    const connection = track(peer, hasBody(request.headers));
    const remote = "hostname" in peer ? canonicalAddress(peer.hostname) : undefined;
    if (mode.kind === "direct") return { address: remote, trustedProxy: false, connection };
    const { address, trustedProxy, conflict } = clientAddress(request.headers, remote, mode);
    // The message stays the same, so that the throttle knows one event however the client varies what it forges.
    if (conflict) log.warn("forwarding headers contradict each other", { address, conflict });
    return { address, trustedProxy, connection };
  }

  /** What the service's own state and the proxy say before anybody asks who the client is. */
  #judge(request: Request, host: string, client: Client): Refusal | undefined {
    const { mode, origin, peers } = this.#rules;
    if (mode.kind === "proxied") {
      const reason = proxyTls(request.headers, client.trustedProxy, mode);
      if (reason) {
        return { status: 426, reason: `${sentence(reason)} Connect to the proxy with wss://.`, headers: TLS_UPGRADE };
      }
    }
    if (peers.refusing()) return STOPPING;
    return origin({
      origin: request.headers.get("origin"),
      host: (client.trustedProxy ? forwardedHost(request.headers) : undefined) ?? host,
      credentials: request.headers.get("cookie") !== null || request.headers.get("authorization") !== null,
    });
  }

  #authenticated(request: Request, client: Admitted, result: AuthResult): Awaitable<Response> {
    if (!result.ok) {
      client.slot.release();
      this.#log(client, result.status, result.reason);
      return refusalResponse({ status: result.status, reason: result.body, headers: result.headers });
    }
    return this.#upgrade(request, client, result);
  }

  #upgrade(request: Request, { address, slot, offered, connection }: Admitted, shown: Shown): Awaitable<Response> {
    const { idleTimeout, peers } = this.#rules;
    return upgrade(request, {
      protocols: shown.offered,
      tokenOffered: shown.offered.length < offered,
      remoteAddress: address,
      idleTimeout: idleTimeout / 1000,
      slot,
      url: shown.url,
      headers: shown.claims === undefined ? request.headers : withoutToken(request, shown.offered),
      claims: shown.claims,
      expiresAt: shown.expiresAt,
      connection,
    }, peers);
  }

  #health({ address }: Client): Response {
    const peers = address !== undefined && isLoopback(address) ? this.#rules.connected() : undefined;
    return healthResponse(this.#rules.draining(), peers);
  }

  #plain(): Response {
    if (this.#rules.page) return pageResponse();
    const reason = "This is a WebSocket endpoint: connect with wss:// from a WebSocket client.";
    return refusalResponse({ status: 426, reason, headers: { upgrade: "websocket", connection: "Upgrade" } });
  }

  #readOnly(client: Client, request: Request, respond: () => Response): Response {
    if (request.method === "GET" || request.method === "HEAD") return respond();
    return this.#refuse(client, {
      status: 405,
      reason: `This path answers GET and HEAD, not ${request.method}.`,
      headers: { allow: "GET, HEAD" },
    });
  }

  #refuse(client: Client, refusal: Refusal): Response {
    this.#log(client, refusal.status, refusal.reason);
    return refusalResponse(refusal);
  }

  #log(client: Client, status: number, reason: string): void {
    this.#rules.log.info("refused", { status, reason, address: client.address });
  }
}

const TLS_UPGRADE = { upgrade: "TLS/1.2, HTTP/1.1", connection: "Upgrade" };

/** Whether a request announces a body. get, not has: see verifyHandshake. */
function hasBody(headers: Headers): boolean {
  return headers.get("content-length") !== null || headers.get("transfer-encoding") !== null;
}

/** The headers as an app may see them. */
function withoutToken(given: Request, offered: readonly string[]): Headers {
  const headers = headersOf(given);
  headers.delete("authorization");
  if (offered.length > 0) headers.set("sec-websocket-protocol", offered.join(", "));
  else headers.delete("sec-websocket-protocol");
  return headers;
}

/**
 * Deno passes any Host on and pastes it into the URL: of some no URL can be made, others (`a/b`, `a@b`) would move the
 * path or the host (measured).
 */
function hasValidUrl({ url, headers }: Request): boolean {
  return URL.canParse(url) && !/[/\\?#@\s]/.test(headers.get("host") ?? "");
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

function withoutBody({ status, headers }: Response): Response {
  return new Response(null, { status, headers });
}
