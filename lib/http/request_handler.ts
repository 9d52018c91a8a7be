/**
 * Handles requests. Checks in this order: health, path, page, handshake, TLS in front of the proxy, draining, origin, limits,
 * token. Then it upgrades.
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
import type { RefusalCause } from "../ws/service_counters.ts";
import { GONE, STOPPING, upgrade } from "../ws/upgrade.ts";
import { HEALTH_PATH, healthResponse } from "./health.ts";
import { type PageFacts, pageResponse } from "./test_page.ts";

/** Options of a request handler. */
export interface RequestHandlerOptions {
  readonly mode: Mode;
  /** Whether the service uses loopback with the development certificate, and so refuses a Host of another machine. */
  readonly localOnly: boolean;
  readonly paths: PathSet;
  /** The facts on the test page; undefined without a page. */
  readonly page: (() => PageFacts) | undefined;
  readonly origin: OriginRule;
  readonly authenticator: Authenticator | undefined;
  readonly admission: Admission;
  readonly peers: PeerDependencies;
  /** For refusals. Throttled, so that clients cannot flood it. */
  readonly log: Logger;
  /** Whether the service is stopping. */
  draining(): boolean;
  /** The number of connected peers. */
  connected(): number;
  /** The port that it listens on; undefined for a unix socket. */
  port(): number | undefined;
  /** Reports a request to the watchdog; returns undefined without a watchdog. */
  track(peer: Deno.Addr, body: boolean): WatchedConnection | undefined;
}

/** The most untrusted proxies that are reported. */
const REPORTED = 100;

/** Handles all requests of a service. */
export class RequestHandler {
  readonly #rules: RequestHandlerOptions;
  /** Addresses whose forwarding headers were reported as ignored. */
  readonly #reported = new Set<string>();

  constructor(rules: RequestHandlerOptions) {
    this.#rules = rules;
  }

  /** The handler for `Deno.serve`. Never throws or rejects, so that an error affects only its own request. */
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
      if (url === undefined) return this.#refuse(sender, { status: 400, reason: "A valid Host header is required." });
      handshake = new Handshake(request, url, sender);
      const response = this.#answer(handshake);
      // Over HTTP/2 Deno also sends the body for HEAD, which ends the stream with PROTOCOL_ERROR (measured).
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
      return this.#refuse(handshake, misdirected(handshake.host), "host");
    }
    if (pathname === HEALTH_PATH) return this.#readOnly(handshake, () => this.#health(handshake));
    if (!rules.paths.has(pathname)) {
      const reason = `Nothing is here. WebSockets are welcome at ${rules.paths.shown}.`;
      return this.#refuse(handshake, { status: 404, reason }, "path");
    }

    const verdict = verifyHandshake(request.method, headers);
    if (verdict.kind === "plain") return this.#readOnly(handshake, () => this.#plain());
    if (verdict.kind === "refuse") return this.#refuse(handshake, verdict.refusal, "handshake");
    handshake.offered = verdict.offered;
    const judged = this.#judge(handshake);
    if (judged) return this.#refuse(handshake, ...judged);

    // Counted before the token is checked, so that a client over its limit cannot use that time.
    const slot = rules.admission.admit(handshake.address);
    if (!slot.ok) {
      const retry = { "retry-after": String(slot.retryAfter) };
      const refusal = { status: slot.status, reason: sentence(slot.reason), headers: retry };
      return this.#refuse(handshake, refusal, "limit");
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
    // Reported as early as possible: until then the watchdog treats the connection as an incomplete handshake.
    const connection = track(peer, hasBody(request.headers));
    const remote = "hostname" in peer ? canonicalAddress(peer.hostname) : undefined;
    if (mode.kind === "direct") return { address: remote, trustedProxy: false, connection };
    const { address, trustedProxy, conflict, ignored } = clientAddress(request.headers, remote, mode);
    // A constant message, so that the throttle counts one event although the client varies the forged headers.
    if (conflict) log.warn("forwarding headers contradict each other", { address, conflict });
    if (ignored !== undefined && address !== undefined) this.#reportIgnored(ignored, address);
    return { address, trustedProxy, connection };
  }

  /** Logs once per address, for a limited number of addresses. */
  #reportIgnored(header: string, address: string): void {
    if (this.#reported.has(address) || this.#reported.size >= REPORTED) return;
    this.#reported.add(address);
    const advice = `add --trusted-proxy ${address} if it is your proxy`;
    this.#rules.log.warn(`${address} sends ${header}, which is ignored; ${advice}`, { address });
  }

  /** Checks that precede authentication: the service's state, the proxy's TLS, and the origin. */
  #judge(handshake: Handshake): readonly [Refusal, RefusalCause] | undefined {
    const { mode, origin, peers, port } = this.#rules;
    const { headers, trustedProxy } = handshake;
    if (mode.kind === "proxied") {
      const reason = proxyTls(headers, trustedProxy, mode);
      if (reason) return [{ status: 426, reason: sentence(reason), headers: TLS_UPGRADE }, "tls"];
    }
    if (peers.refusing()) return [STOPPING, "stopping"];
    // Without an Origin the client is not a browser, so the other facts are not read.
    const refusal = headers.get("origin") === null ? undefined : origin(originFacts(handshake, mode, port()));
    return refusal && [refusal, "origin"];
  }

  #whenAuthenticated(handshake: Handshake, result: Promise<AuthResult>): Promise<Response> {
    const { peers } = this.#rules;
    return waitWhileConnected(result, requestSignal(handshake.request), peers.openTimeout).then((waited) => {
      if (waited.kind === "failed") throw waited.error;
      if (waited.kind === "done" && !peers.refusing()) return this.#authenticated(handshake, waited.value);
      handshake.release();
      if (waited.kind === "gone") return this.#refuse(handshake, GONE, "gone");
      return waited.kind === "late"
        ? this.#refuse(handshake, LATE, "timeout")
        : this.#refuse(handshake, STOPPING, "stopping");
    });
  }

  #authenticated(handshake: Handshake, result: AuthResult): Awaitable<Response> {
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

  /** @param cause where a handshake is refused by it */
  #refuse(sender: Sender, refusal: Refusal, cause?: RefusalCause): Response {
    if (cause !== undefined) this.#count(sender, cause);
    const { status, reason, warning } = refusal;
    if (warning !== undefined) this.#rules.peers.warnOnce(warning);
    this.#log(sender, status, reason);
    return refusalResponse(refusal);
  }

  /** Counts a refused handshake; what asks for no upgrade is none. */
  #count(sender: Sender, cause: RefusalCause): void {
    if (sender instanceof Handshake && sender.headers.get("upgrade") === null) return;
    this.#rules.peers.counters.refused[cause]++;
  }

  #log({ address }: Sender, status: number, reason: string): void {
    this.#rules.log.info("refused", { status, reason, address });
  }
}

const TLS_UPGRADE = { upgrade: "TLS/1.2, HTTP/1.1", connection: "Upgrade" };

/** The refusal if checking a token takes too long. */
const LATE: Refusal = {
  status: 503,
  reason: "The token could not be checked in time.",
  headers: { "retry-after": "10" },
};

/** The refusal of a page that reached this machine by DNS rebinding. */
function misdirected(host: string): Refusal {
  const reason = `This development service answers to localhost and to addresses, not to ${host} (DNS rebinding). ` +
    "Connect to localhost, or serve with a certificate for that name (--cert, --key).";
  return { status: 421, reason };
}

/** Whether a request announces a body. Uses get instead of has, see verifyHandshake. */
function hasBody(headers: Headers): boolean {
  return headers.get("content-length") !== null || headers.get("transfer-encoding") !== null;
}

/**
 * The request's URL. Deno puts any Host header into the URL unchecked: some give an invalid URL, others (`a/b`, `a@b`) would
 * change the path or the host (measured).
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
