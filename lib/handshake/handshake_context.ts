/**
 * The state of one opening handshake.
 * @module
 */
import { requestSignal } from "../unstable_features.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Slot } from "./connection_limits.ts";
import { copyHeaders, RequestSnapshot } from "./request_snapshot.ts";

/** The sender of a request, as known on arrival. */
export interface Sender {
  /** The client's address in canonical form. Undefined if the peer is a unix socket and the proxy sends no address. */
  readonly address: string | undefined;
  /** Whether the socket's peer is a trusted proxy, whose forwarding headers are used. */
  readonly trustedProxy: boolean;
  /** The watchdog's record of the connection. Undefined without a watchdog. */
  readonly connection: WatchedConnection | undefined;
}

/**
 * The state of one handshake, from the request's arrival to the upgrade. Each step (verification, admission,
 * authentication, the app's `upgrade` hook) sets its own fields. The peer is created from them.
 */
export class Handshake {
  readonly request: Request;
  readonly address: string | undefined;
  readonly trustedProxy: boolean;
  readonly connection: WatchedConnection | undefined;
  /** The requested path, percent-encoded. */
  readonly pathname: string;
  /** The host of the request's URL, with the port unless it is the default port. */
  readonly host: string;
  /** The host without the port. */
  readonly hostname: string;

  /** The request's URL without a token, as the app sees it. */
  url: string;
  /** The offered subprotocols, without a token. */
  offered: readonly string[] = [];
  /** Whether the token was offered as a subprotocol. The client then fails unless one of the others is chosen (Chromium). */
  tokenOffered = false;
  /** The slot among the counted connections. Released when the handshake fails or the peer disconnects. */
  slot: Slot | undefined;
  /** The claims of the token, which the app finds in `context.claims`. Undefined if no token is required. */
  claims: Record<string, unknown> | undefined;
  /** When the token expires, in milliseconds since the epoch. Undefined: never. */
  expiresAt: number | undefined;
  /** The secret or key that verified the token, see `Authenticator.accepts`. */
  keyId: string | undefined;

  /** The user: the one that the app returned, else the subject of the token. */
  user: string | undefined;
  /** The chosen subprotocol; empty if none was chosen. */
  protocol = "";
  /** The namespace of the peer's topics: the path, unless the app returns another one. */
  namespace: string;
  /** The peer's context. */
  context: Record<string, unknown> = {};

  /** @param url the parsed URL of the request */
  constructor(request: Request, url: URL, sender: Sender) {
    this.request = request;
    this.address = sender.address;
    this.trustedProxy = sender.trustedProxy;
    this.connection = sender.connection;
    this.pathname = this.namespace = url.pathname;
    this.host = url.host;
    this.hostname = url.hostname;
    this.url = request.url;
  }

  /** The headers as received. */
  get headers(): Headers {
    return this.request.headers;
  }

  /**
   * Creates the Request for the app's `upgrade` hook: a copy without the token, whose signal is aborted when the client
   * disconnects. Its `context` becomes the peer's, as in crossws.
   */
  visibleRequest(): Request {
    const request = new Request(this.url, { headers: this.#visibleHeaders(), signal: requestSignal(this.request) });
    // A setter is needed, because h3 assigns `context`.
    return Object.defineProperty(request, "context", {
      get: () => this.context,
      set: (context) => this.context = context,
    });
  }

  /** Creates the copy that the app sees after the upgrade. Must be called before the upgrade. */
  snapshot(): RequestSnapshot {
    return new RequestSnapshot(this.url, this.#visibleHeaders());
  }

  /** Releases the slot, if there is one. */
  release(): void {
    this.slot?.release();
  }

  #visibleHeaders(): Headers {
    const headers = copyHeaders(this.request);
    if (this.claims === undefined) return headers;
    headers.delete("authorization");
    if (this.offered.length > 0) headers.set("sec-websocket-protocol", this.offered.join(", "));
    else headers.delete("sec-websocket-protocol");
    return headers;
  }
}
