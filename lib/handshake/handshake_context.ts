/**
 * The state of one opening handshake.
 * @module
 */
import { requestSignal } from "../unstable_features.ts";
import type { WatchedConnection } from "../net/watchdog/watched_connection.ts";
import type { Slot } from "./admission.ts";
import { headersOf, RequestSnapshot } from "./request_snapshot.ts";

/** What is known of a request's sender when it comes in. */
export interface Sender {
  /** The client's own address, canonical; undefined only behind a unix socket whose proxy names nobody. */
  readonly address: string | undefined;
  /** The socket's peer is a proxy whose headers count. */
  readonly trustedProxy: boolean;
  /** What the watchdog knows of the connection; undefined where there is no watchdog. */
  readonly connection: WatchedConnection | undefined;
}

/**
 * A request, made once when it comes in. Each step on its way (verification, admission, authentication, the app's
 * `upgrade` hook) sets the fields that are its own, and the peer in the end takes what it needs.
 */
export class Handshake {
  readonly request: Request;
  readonly address: string | undefined;
  readonly trustedProxy: boolean;
  readonly connection: WatchedConnection | undefined;
  /** The path that was asked for, percent-encoded. */
  readonly pathname: string;
  /** The host of the request's URL, with its port where it is not the default one. */
  readonly host: string;
  /** The same without the port. */
  readonly hostname: string;

  /** The request's URL as an app may see it: without a token. */
  url: string;
  /** The subprotocols that it offers, without a token. */
  offered: readonly string[] = [];
  /** Its token stood among the subprotocols: a browser, which fails where none of the others is chosen (seen in Chromium). */
  tokenOffered = false;
  /** Its slot among the counted connections. Released when the handshake fails or the peer ends. */
  slot: Slot | undefined;
  /** Of its token; the app finds them at `context.claims`. Undefined where no token is asked for. */
  claims: Record<string, unknown> | undefined;
  /** When the token ends, ms of the epoch; undefined: never. */
  expiresAt: number | undefined;
  /** The secret or key that its token was checked with, see `Authenticator.accepts`. */
  keyId: string | undefined;

  /** Who the client is: what the app says, else the subject of its token. */
  user: string | undefined;
  /** The subprotocol that was chosen; empty where none was. */
  protocol = "";
  /** The topics that the peer shares with others: the path, unless the app names another. */
  namespace: string;
  /** The peer's context. */
  context: Record<string, unknown> = {};

  /** @param url the request's, parsed */
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

  /** The headers as they came. */
  get headers(): Headers {
    return this.request.headers;
  }

  /**
   * A Request for the app's `upgrade` hook: a copy without a token, aborted when the client leaves. What the hook writes
   * into its `context` becomes the peer's, as crossws has it.
   */
  visibleRequest(): Request {
    const request = new Request(this.url, { headers: this.#visibleHeaders(), signal: requestSignal(this.request) });
    // h3 assigns it.
    return Object.defineProperty(request, "context", {
      get: () => this.context,
      set: (context) => this.context = context,
    });
  }

  /** What an app may see of the request once it is upgraded. Take it before the upgrade. */
  snapshot(): RequestSnapshot {
    return new RequestSnapshot(this.url, this.#visibleHeaders());
  }

  /** Gives the place back, if it had one. */
  release(): void {
    this.slot?.release();
  }

  #visibleHeaders(): Headers {
    const headers = headersOf(this.request);
    if (this.claims === undefined) return headers;
    headers.delete("authorization");
    if (this.offered.length > 0) headers.set("sec-websocket-protocol", this.offered.join(", "));
    else headers.delete("sec-websocket-protocol");
    return headers;
  }
}
