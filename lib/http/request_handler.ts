/**
 * What every request goes through, in order: health, path, page, handshake, TLS before the proxy, draining, origin,
 * limits, token. Then it is upgraded.
 * @module
 */
import type { Authenticator, AuthResult } from "../auth/authenticate.ts";
import type { PathSet } from "../config/path_pattern.ts";
import type { Mode } from "../config/service_mode.ts";
import { stackOf } from "../errors.ts";
import type { Admission } from "../handshake/admission.ts";
import { clientAddress, proxyTls } from "../handshake/proxy_headers.ts";
import { Handshake, type Sender } from "../handshake/handshake_context.ts";
import { namesThisMachine, originFacts, type OriginRule } from "../handshake/origin.ts";
import { type Refusal, refusalResponse } from "../handshake/refusal.ts";
import { verifyHandshake } from "../handshake/verify_handshake.ts";
import { waitWhileConnected } from "../handshake/wait_while_connected.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import type { Logger } from "../log.ts";
import { requestSignal } from "../unstable_features.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Awaitable } from "../ws/app_types.ts";
import type { PeerDependencies } from "../ws/peer_dependencies.ts";
import { GONE, STOPPING, upgrade } from "../ws/upgrade.ts";
import { HEALTH_PATH, healthResponse } from "./health.ts";
import { type PageFacts, pageResponse } from "./test_page.ts";

/** What a request is checked against. */
export interface RequestHandlerOptions {
  readonly mode: Mode;
  /** Whether it serves on loopback with the development certificate: a Host that is not of this machine is refused. */
  readonly localOnly: boolean;
  readonly paths: PathSet;
  /** What the test page says; undefined where there is no page. */
  readonly page: (() => PageFacts) | undefined;
  readonly origin: OriginRule;
  readonly authenticator: Authenticator | undefined;
  readonly admission: Admission;
  readonly peers: PeerDependencies;
  /** For refusals: throttled, so that strangers cannot fill it. */
  readonly log: Logger;
  /** Whether the service is about to end. */
  draining(): boolean;
  /** How many peers are connected. */
  connected(): number;
  /** The port that it listens on; undefined for a unix socket. */
  port(): number | undefined;
  /** Tells the watchdog of a request; undefined where there is no watchdog. */
  track(peer: Deno.Addr, body: boolean): WatchedConnection | undefined;
}

/** Untrusted proxies that are remembered as reported. */
const REPORTED = 100;

/** Answers requests. */
export class RequestHandler {
  readonly #rules: RequestHandlerOptions;
  /** Addresses whose forwarding headers were reported as ignored. */
  readonly #reported = new Set<string>();

  constructor(rules: RequestHandlerOptions) {
    this.#rules = rules;
  }

  /** For `Deno.serve`. Never throws and never rejects: what goes wrong with one request costs that request alone. */
  readonly handle = (request: Request, info: Deno.ServeHandlerInfo<Deno.Addr>): Awaitable<Response> => {
    let handshake: Handshake | undefined;
    const failed = (error: unknown) => {
      handshake?.release();
      this.#rules.log.error("a request failed", { error: stackOf(error), address: handshake?.address });
      return refusalResponse({ status: 500, reason: "The service failed to answer this request." });
    };
    try {
      const sender = this.#sender(request, info.remoteAddr);
      const url = urlOf(request);
      if (url === undefined) return this.#refuse(sender, { status: 400, reason: "A valid Host is needed." });
      handshake = new Handshake(request, url, sender);
      const response = this.#answer(handshake);
      // Over HTTP/2 Deno sends the body to a HEAD too, which ends its stream with PROTOCOL_ERROR (measured).
      const finished = (response: Response) => request.method === "HEAD" ? withoutBody(response) : response;
      return response instanceof Promise ? response.then(finished).catch(failed) : finished(response);
    } catch (error) {
      return failed(error);
    }
  };

  #answer(handshake: Handshake): Awaitable<Response> {
    const rules = this.#rules;
    const { request, pathname, headers } = handshake;
    if (rules.localOnly && !namesThisMachine(handshake.hostname)) {
      return this.#refuse(handshake, misdirected(handshake.host));
    }
    if (pathname === HEALTH_PATH) return this.#readOnly(handshake, () => this.#health(handshake));
    if (!rules.paths.has(pathname)) {
      const reason = `Nothing is here. WebSockets are welcome at ${rules.paths.shown}.`;
      return this.#refuse(handshake, { status: 404, reason });
    }

    const verdict = verifyHandshake(request.method, headers);
    if (verdict.kind === "plain") return this.#readOnly(handshake, () => this.#plain());
    if (verdict.kind === "refuse") return this.#refuse(handshake, verdict.refusal);
    handshake.offered = verdict.offered;
    const refusal = this.#judge(handshake);
    if (refusal) return this.#refuse(handshake, refusal);

    // Counted before its token is checked: that takes time, and a client over its limit shall not take it.
    const slot = rules.admission.admit(handshake.address);
    if (!slot.ok) {
      const retry = { "retry-after": String(slot.retryAfter) };
      return this.#refuse(handshake, { status: slot.status, reason: sentence(slot.reason), headers: retry });
    }
    handshake.slot = slot;
    if (rules.authenticator === undefined) return upgrade(handshake, rules.peers);
    const result = rules.authenticator.authenticate(handshake);
    return result instanceof Promise
      ? this.#whenAuthenticated(handshake, result)
      : this.#authenticated(handshake, result);
  }

  #sender(request: Request, peer: Deno.Addr): Sender {
    const { mode, log, track } = this.#rules;
    // Told of every request, as early as it is known: until then the watchdog counts a connection as unfinished.
    const connection = track(peer, hasBody(request.headers));
    const remote = "hostname" in peer ? canonicalAddress(peer.hostname) : undefined;
    if (mode.kind === "direct") return { address: remote, trustedProxy: false, connection };
    const { address, trustedProxy, conflict, ignored } = clientAddress(request.headers, remote, mode);
    // The message stays the same, so that the throttle knows one event however the client varies what it forges.
    if (conflict) log.warn("forwarding headers contradict each other", { address, conflict });
    if (ignored !== undefined && address !== undefined) this.#reportIgnored(ignored, address);
    return { address, trustedProxy, connection };
  }

  /** Once for each address, and for so many addresses as are worth a line. */
  #reportIgnored(header: string, address: string): void {
    if (this.#reported.has(address) || this.#reported.size >= REPORTED) return;
    this.#reported.add(address);
    const advice = `add --trusted-proxy ${address} if it is your proxy`;
    this.#rules.log.warn(`${address} sends ${header}, which is ignored; ${advice}`, { address });
  }

  /** What the service's own state and the proxy say before anybody asks who the client is. */
  #judge(handshake: Handshake): Refusal | undefined {
    const { mode, origin, peers, port } = this.#rules;
    const { headers, trustedProxy } = handshake;
    if (mode.kind === "proxied") {
      const reason = proxyTls(headers, trustedProxy, mode);
      if (reason) return { status: 426, reason: sentence(reason), headers: TLS_UPGRADE };
    }
    if (peers.refusing()) return STOPPING;
    // What is no browser needs no look at anything else.
    return headers.get("origin") === null ? undefined : origin(originFacts(handshake, mode, port()));
  }

  #whenAuthenticated(handshake: Handshake, result: Promise<AuthResult>): Promise<Response> {
    const { peers } = this.#rules;
    return waitWhileConnected(result, requestSignal(handshake.request), peers.openTimeout).then((waited) => {
      if (waited.kind === "failed") throw waited.error;
      if (waited.kind === "done" && !peers.refusing()) return this.#authenticated(handshake, waited.value);
      handshake.release();
      return this.#refuse(handshake, waited.kind === "gone" ? GONE : waited.kind === "late" ? LATE : STOPPING);
    });
  }

  #authenticated(handshake: Handshake, result: AuthResult): Awaitable<Response> {
    if (!result.ok) {
      handshake.release();
      this.#log(handshake, result.status, result.reason);
      return refusalResponse({ status: result.status, reason: result.body, headers: result.headers });
    }
    handshake.url = result.url;
    handshake.tokenOffered = result.offered.length < handshake.offered.length;
    handshake.offered = result.offered;
    handshake.claims = result.claims;
    handshake.expiresAt = result.expiresAt;
    handshake.keyId = result.keyId;
    return upgrade(handshake, this.#rules.peers);
  }

  #health({ address }: Sender): Response {
    const peers = address !== undefined && isLoopback(address) ? this.#rules.connected() : undefined;
    return healthResponse(this.#rules.draining(), peers);
  }

  #plain(): Awaitable<Response> {
    const { page } = this.#rules;
    if (page !== undefined) return pageResponse(page());
    const reason = "This is a WebSocket endpoint: connect with wss:// from a WebSocket client.";
    return refusalResponse({ status: 426, reason, headers: { upgrade: "websocket", connection: "Upgrade" } });
  }

  #readOnly(handshake: Handshake, respond: () => Awaitable<Response>): Awaitable<Response> {
    const { method } = handshake.request;
    if (method === "GET" || method === "HEAD") return respond();
    const reason = `This path answers GET and HEAD, not ${method}.`;
    return this.#refuse(handshake, { status: 405, reason, headers: { allow: "GET, HEAD" } });
  }

  #refuse(sender: Sender, refusal: Refusal): Response {
    const { status, reason, warning } = refusal;
    if (warning !== undefined) this.#rules.peers.warnOnce(warning);
    this.#log(sender, status, reason);
    return refusalResponse(refusal);
  }

  #log({ address }: Sender, status: number, reason: string): void {
    this.#rules.log.info("refused", { status, reason, address });
  }
}

const TLS_UPGRADE = { upgrade: "TLS/1.2, HTTP/1.1", connection: "Upgrade" };

/** The answer where checking a token takes too long. */
const LATE: Refusal = {
  status: 503,
  reason: "The token could not be checked in time.",
  headers: { "retry-after": "10" },
};

/** For a page that reached this machine through DNS of its own. */
function misdirected(host: string): Refusal {
  const reason = `This development service answers to localhost and to addresses, not to ${host} (DNS rebinding). ` +
    "Connect to localhost, or serve with a certificate for that name (--cert, --key).";
  return { status: 421, reason };
}

/** Whether a request announces a body. get, not has: see verifyHandshake. */
function hasBody(headers: Headers): boolean {
  return headers.get("content-length") !== null || headers.get("transfer-encoding") !== null;
}

/**
 * The request's URL. Deno passes any Host on and pastes it into the URL: of some no URL can be made, others (`a/b`,
 * `a@b`) would move the path or the host (measured).
 */
function urlOf({ url, headers }: Request): URL | undefined {
  return /[/\\?#@\s]/.test(headers.get("host") ?? "") ? undefined : URL.parse(url) ?? undefined;
}

function sentence(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}.`;
}

function withoutBody({ status, headers }: Response): Response {
  return new Response(null, { status, headers });
}
