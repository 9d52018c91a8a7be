/**
 * Handles requests. The checks run in this order: Host, health path, path, plain request, handshake, TLS in front of the
 * proxy, draining, origin, limits, token. Then the request is upgraded.
 * @module
 */
import type { Authenticator, AuthResult } from "../auth/authenticate.ts";
import type { PathSet } from "../config/path_pattern.ts";
import type { Mode } from "../config/service_mode.ts";
import { stackOf } from "../errors.ts";
import type { Admission } from "../handshake/connection_limits.ts";
import { checkProxyTls, hasForwardingHeader, resolveClientAddress } from "../handshake/proxy_headers.ts";
import { Handshake, type Sender } from "../handshake/handshake_context.ts";
import { isLocalName, namesThisMachine, type OriginRule, readOriginFacts } from "../handshake/origin.ts";
import { type Refusal, refusalResponse } from "../handshake/refusal.ts";
import { verifyHandshake } from "../handshake/verify_handshake.ts";
import { waitWhileConnected } from "../handshake/wait_while_connected.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import type { Logger } from "../log.ts";
import { requestSignal } from "../unstable_features.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Awaitable } from "../ws/app_types.ts";
import type { PeerDependencies } from "../ws/peer_dependencies.ts";
import type { RefusalCause } from "../ws/service_counters.ts";
import { CLIENT_DISCONNECTED, STOPPING, upgrade } from "../ws/upgrade.ts";
import { HEALTH_PATH, healthResponse } from "./health.ts";
import { type PageFacts, pageResponse } from "./test_page.ts";

/** Options of a request handler. */
export interface RequestHandlerOptions {
  readonly mode: Mode;
  /** Whether the service listens on loopback with the development certificate. It then refuses the Host of another machine. */
  readonly localOnly: boolean;
  readonly paths: PathSet;
  /** Returns what the test page shows. Undefined if the page is off. */
  readonly page: (() => PageFacts) | undefined;
  readonly origin: OriginRule;
  readonly authenticator: Authenticator | undefined;
  readonly admission: Admission;
  readonly peers: PeerDependencies;
  /** Logs refusals. It is throttled, so that clients cannot flood it. */
  readonly log: Logger;
  /** Whether the service is stopping. */
  draining(): boolean;
  /** The number of connected peers. */
  connected(): number;
  /** The port that the service listens on. Undefined for a unix socket. */
  port(): number | undefined;
  /** Reports a request to the watchdog; returns undefined without a watchdog. */
  track(peer: Deno.Addr, body: boolean): WatchedConnection | undefined;
}

/** The maximum number of untrusted proxies that are reported. */
const MAX_REPORTED_PROXIES = 100;

/** Handles all requests of a service. */
export class RequestHandler {
  readonly #options: RequestHandlerOptions;
  /** Addresses whose forwarding headers were reported as ignored. */
  readonly #reportedProxies = new Set<string>();

  constructor(options: RequestHandlerOptions) {
    this.#options = options;
  }

  /** The handler for `Deno.serve`. Never throws or rejects, so that an error affects only its own request. */
  readonly handle = (request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>): Awaitable<Response> => {
    let handshake: Handshake | undefined;
    const failed = (error: unknown) => {
      handshake?.release();
      this.#options.log.error("a request failed", { error: stackOf(error), address: handshake?.address });
      return refusalResponse({ status: 500, reason: "The service failed to answer this request." });
    };
    try {
      const sender = this.#identifySender(request, info.remoteAddr);
      const url = parseRequestUrl(request);
      if (url === undefined) return this.#refuse(sender, { status: 400, reason: "A valid Host header is required." });
      handshake = new Handshake(request, url, sender);
      const response = this.#respond(handshake);
      // Over HTTP/2 Deno also sends the body for HEAD, which ends the stream with PROTOCOL_ERROR (measured).
      const finished = (response: Response) => request.method === "HEAD" ? withoutBody(response) : response;
      return response instanceof Promise ? response.then(finished).catch(failed) : finished(response);
    } catch (error) {
      return failed(error);
    }
  };

  #respond(handshake: Handshake): Awaitable<Response> {
    const options = this.#options;
    const { request, pathname, headers } = handshake;
    if (options.localOnly && !namesThisMachine(handshake.hostname)) {
      return this.#refuse(handshake, hostRefusal(handshake.host), "host");
    }
    if (pathname === HEALTH_PATH) return this.#allowGetAndHead(handshake, () => this.#respondWithHealth(handshake));
    if (!options.paths.has(pathname)) {
      const reason = `This path is not served. WebSocket connections are accepted at ${options.paths.shown}.`;
      return this.#refuse(handshake, { status: 404, reason }, "path");
    }

    const verdict = verifyHandshake(request.method, headers);
    if (verdict.kind === "plain") return this.#allowGetAndHead(handshake, () => this.#respondToPlainRequest());
    if (verdict.kind === "refuse") return this.#refuse(handshake, verdict.refusal, "handshake");
    handshake.offered = verdict.offered;
    const refused = this.#checkConnection(handshake);
    if (refused) return this.#refuse(handshake, ...refused);

    // Counted before the token is checked, so that a client over its limit cannot cause token checks.
    const slot = options.admission.admit(handshake.address);
    if (!slot.ok) {
      const retry = { "retry-after": String(slot.retryAfter) };
      const refusal = { status: slot.status, reason: toSentence(slot.reason), headers: retry };
      return this.#refuse(handshake, refusal, "limit");
    }
    handshake.slot = slot;
    if (options.authenticator === undefined) return upgrade(handshake, options.peers);
    const result = options.authenticator.authenticate(handshake);
    return result instanceof Promise
      ? this.#awaitAuthentication(handshake, result)
      : this.#handleAuthResult(handshake, result);
  }

  #identifySender(request: Request, peer: Deno.Addr): Sender {
    const { mode, log, track } = this.#options;
    // Reported as early as possible: until then the watchdog treats the connection as an incomplete handshake.
    const connection = track(peer, hasBody(request.headers));
    const remote = "hostname" in peer ? canonicalAddress(peer.hostname) : undefined;
    if (mode.kind === "direct") return { address: remote, trustedProxy: false, connection };
    const { address, trustedProxy, conflict, ignored } = resolveClientAddress(request.headers, remote, mode);
    // The message is constant: the throttle then counts one event, even if the client varies the forged headers.
    if (conflict) log.warn("forwarding headers contradict each other", { address, conflict });
    if (ignored !== undefined && address !== undefined) this.#reportIgnored(ignored, address);
    return { address, trustedProxy, connection };
  }

  /** Logs once per address, for a limited number of addresses. */
  #reportIgnored(header: string, address: string): void {
    if (this.#reportedProxies.has(address) || this.#reportedProxies.size >= MAX_REPORTED_PROXIES) return;
    this.#reportedProxies.add(address);
    const advice = `add --trusted-proxy ${address} if it is your proxy`;
    this.#options.log.warn(`${address} sends ${header}, which is ignored; ${advice}`, { address });
  }

  /** Checks what precedes authentication: the proxy's TLS, the service's state and the origin. */
  #checkConnection(handshake: Handshake): readonly [Refusal, RefusalCause] | undefined {
    const { mode, origin, peers, port } = this.#options;
    const { headers, trustedProxy } = handshake;
    if (mode.kind === "proxied") {
      const reason = checkProxyTls(headers, trustedProxy, mode);
      if (reason) return [{ status: 426, reason: toSentence(reason), headers: TLS_UPGRADE }, "tls"];
    }
    if (peers.isRefusing()) return [STOPPING, "stopping"];
    // Without an Origin the client is not a browser, so the other facts are not read.
    const refusal = headers.get("origin") === null ? undefined : origin(readOriginFacts(handshake, mode, port()));
    return refusal && [refusal, "origin"];
  }

  #awaitAuthentication(handshake: Handshake, result: Promise<AuthResult>): Promise<Response> {
    const { peers } = this.#options;
    return waitWhileConnected(result, requestSignal(handshake.request), peers.openTimeout).then((waited) => {
      if (waited.kind === "failed") throw waited.error;
      if (waited.kind === "done" && !peers.isRefusing()) return this.#handleAuthResult(handshake, waited.value);
      handshake.release();
      if (waited.kind === "disconnected") return this.#refuse(handshake, CLIENT_DISCONNECTED, "gone");
      return waited.kind === "late"
        ? this.#refuse(handshake, AUTH_TIMEOUT, "timeout")
        : this.#refuse(handshake, STOPPING, "stopping");
    });
  }

  #handleAuthResult(handshake: Handshake, result: AuthResult): Awaitable<Response> {
    if (!result.ok) {
      handshake.release();
      this.#count(handshake, "token");
      this.#log(handshake, result.status, result.reason);
      return refusalResponse({ status: result.status, reason: result.body, headers: result.headers });
    }
    handshake.url = result.url;
    handshake.tokenOffered = result.offered.length < handshake.offered.length;
    handshake.offered = result.offered;
    handshake.claims = result.claims;
    handshake.expiresAt = result.expiresAt;
    handshake.keyId = result.keyId;
    return upgrade(handshake, this.#options.peers);
  }

  #respondWithHealth(handshake: Handshake): Response {
    const peers = this.#isFromThisMachine(handshake) ? this.#options.connected() : undefined;
    return healthResponse(this.#options.draining(), peers);
  }

  /**
   * Whether a request appears to come from a program of this machine, not through a proxy. All clients of a proxy on this
   * machine have a loopback address. A proxy that adds no header and forwards no Host cannot be detected.
   */
  #isFromThisMachine({ address, headers, hostname }: Handshake): boolean {
    return address !== undefined && isLoopback(address) && !hasForwardingHeader(headers) &&
      (this.#options.mode.kind === "direct" || isLocalName(hostname));
  }

  #respondToPlainRequest(): Awaitable<Response> {
    const { page } = this.#options;
    if (page !== undefined) return pageResponse(page());
    const reason = "This is a WebSocket endpoint. Connect to it with wss:// from a WebSocket client.";
    return refusalResponse({ status: 426, reason, headers: { upgrade: "websocket", connection: "Upgrade" } });
  }

  #allowGetAndHead(handshake: Handshake, respond: () => Awaitable<Response>): Awaitable<Response> {
    const { method } = handshake.request;
    if (method === "GET" || method === "HEAD") return respond();
    const reason = `Only GET and HEAD are allowed here, not ${method}.`;
    return this.#refuse(handshake, { status: 405, reason, headers: { allow: "GET, HEAD" } });
  }

  /** @param cause the cause to count, for a refused handshake */
  #refuse(sender: Sender, refusal: Refusal, cause?: RefusalCause): Response {
    if (cause !== undefined) this.#count(sender, cause);
    const { status, reason, warning } = refusal;
    if (warning !== undefined) this.#options.peers.warnOnce(warning);
    this.#log(sender, status, reason);
    return refusalResponse(refusal);
  }

  /** Counts a refused handshake. A request without an Upgrade header is not a handshake. */
  #count(sender: Sender, cause: RefusalCause): void {
    if (sender instanceof Handshake && sender.headers.get("upgrade") === null) return;
    this.#options.peers.counters.refused[cause]++;
  }

  #log({ address }: Sender, status: number, reason: string): void {
    this.#options.log.info("refused", { status, reason, address });
  }
}

const TLS_UPGRADE = { upgrade: "TLS/1.2, HTTP/1.1", connection: "Upgrade" };

/** The refusal if checking a token takes too long. */
const AUTH_TIMEOUT: Refusal = {
  status: 503,
  reason: "The token could not be checked in time.",
  headers: { "retry-after": "10" },
};

/** The refusal of a Host that may have come by DNS rebinding. */
function hostRefusal(host: string): Refusal {
  const reason = `This development service accepts localhost and IP addresses as Host, not ${host}, to prevent DNS ` +
    "rebinding. Connect to localhost, or start the service with a certificate for that name (--cert, --key).";
  return { status: 421, reason };
}

/** Whether a request announces a body. Uses `get` instead of `has`, see verifyHandshake. */
function hasBody(headers: Headers): boolean {
  return headers.get("content-length") !== null || headers.get("transfer-encoding") !== null;
}

/**
 * Parses the request's URL. Deno copies the Host header into the URL unchecked: some values make the URL invalid, others
 * (`a/b`, `a@b`) would change its path or host (measured).
 */
function parseRequestUrl({ url, headers }: Request): URL | undefined {
  return /[/\\?#@\s]/.test(headers.get("host") ?? "") ? undefined : URL.parse(url) ?? undefined;
}

function toSentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

function withoutBody({ status, headers }: Response): Response {
  return new Response(null, { status, headers });
}
