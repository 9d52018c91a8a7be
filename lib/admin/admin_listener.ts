/**
 * The admin listener: the HTTP API, `/metrics` and `/healthz` for backends and operators, on a separate address.
 * @module
 */
import { findCredentials } from "../auth/request_credentials.ts";
import { isLocalAddress } from "../config/admin_address.ts";
import type { Address } from "../config/service_mode.ts";
import { messageOf, stackOf, StartError } from "../errors.ts";
import { namesThisMachine } from "../handshake/origin.ts";
import type { Logger } from "../log.ts";
import { type MetricValues, renderMetrics } from "../metrics.ts";
import { formatAddress, type TlsText } from "../net/listener/accept_loop.ts";
import { Listener } from "../net/listener/listener.ts";
import { Watchdog } from "../net/watchdog/watchdog.ts";
import { AutomaticReload } from "../tls/automatic_reload.ts";
import { Api, type Reply } from "./api_dispatcher.ts";
import { ApiError } from "./api_error.ts";
import type { AdminKeys } from "./admin_keys.ts";
import type { ApiCommand } from "./api_methods.ts";
import { readJsonBody } from "./read_json_body.ts";

/** The health of the service. */
export interface Health {
  readonly draining: boolean;
  /** Whether the broker is connected. Undefined without a broker. */
  readonly broker: boolean | undefined;
}

/** The service behind the listener: the service of this process, or the workers of a supervisor. */
export interface AdminBackend {
  /** Executes a command on all nodes. @throws {ApiError} */
  execute(command: ApiCommand): Promise<object>;
  metrics(): Promise<MetricValues>;
  health(): Promise<Health>;
}

/** Options of an admin listener. */
export interface AdminListenerOptions {
  readonly address: Address;
  /** Undefined: plain HTTP. */
  readonly tls: TlsText | undefined;
  /** Undefined: the API is available only on a unix socket. */
  readonly keys: AdminKeys | undefined;
  readonly backend: AdminBackend;
  /** The maximum length of a message in bytes. */
  readonly maxPayload: number;
  /** Milliseconds for a request's head, and for its body. */
  readonly handshakeTimeout: number;
  /** Whether a predecessor process shares the address. */
  readonly takeover: boolean;
  /** Must be throttled. */
  readonly log: Logger;
  /** Milliseconds until a failed replacement of the certificate is repeated. Default 60,000; less in tests. */
  readonly retryAfter?: number;
}

/** Bytes of a JSON body for one byte of a message: `\u0001`. Many encoders also write other text in this way. */
const ESCAPE_LENGTH = 6;
/** Bytes of a body besides the longest message: names of topics, or the many short commands of a batch. */
const ENVELOPE = 8 * 1024 ** 2;
/** Milliseconds for the response to a slow body before the connection is closed. */
const RESPONSE_TIME = 1000;
const API = "/api/";

/** A running admin listener. */
export class AdminListener implements AsyncDisposable {
  readonly #options: AdminListenerOptions;
  readonly #api: Api;
  readonly #unix: boolean;
  #listener!: Listener;
  #watchdog: Watchdog | undefined;
  /** The latest certificate. */
  #tls: TlsText | undefined;
  readonly #replacement: AutomaticReload;
  /** Whether a successor has the address. */
  #leaving = false;
  #stopped: Promise<void> | undefined;

  private constructor(options: AdminListenerOptions) {
    this.#options = options;
    const { log, retryAfter } = options;
    const replacement = { log, what: "replacing the admin listener's certificate", retryAfter };
    this.#replacement = new AutomaticReload(() => this.#listener.replace(this.#tls), replacement);
    this.#unix = options.address.transport === "unix";
    this.#api = new Api({
      execute: (command) => options.backend.execute(command),
      maxPayload: options.maxPayload,
      failed: (error) => options.log.error("a call of the admin API failed", { error }),
    });
  }

  /**
   * Opens the listener.
   * @throws {StartError} if the port is in use or forbidden. The message contains the remedy
   */
  static async open(options: AdminListenerOptions): Promise<AdminListener> {
    const { address, tls, log, takeover, handshakeTimeout, maxPayload } = options;
    const admin = new AdminListener(options);
    try {
      admin.#listener = await Listener.open({
        address,
        ...(tls ? { tls } : {}),
        handler: (request, { remoteAddr }) => admin.#handle(request, remoteAddr),
        onError: (error) => {
          log.error("a request to the admin listener failed", { error: stackOf(error) });
          return admin.#json(admin.#api.failure(error));
        },
        takeover,
        additional: true,
        log,
      });
    } catch (error) {
      throw explainError(error, address);
    }
    // Closes connections that continue to send a refused body. Deno would read it to its end.
    const limits = { handshakeTimeout: handshakeTimeout + RESPONSE_TIME, maxPayload };
    admin.#watchdog = Watchdog.start({ addr: admin.addr, ...limits, log });
    if (!isLocalAddress(address) && tls === undefined) {
      log.warn(
        `--admin ${
          formatAddress(address)
        } can be reached from other machines without TLS: anybody on the network path can ` +
          "read the keys; add --admin-tls, or listen on 127.0.0.1",
      );
    }
    return admin;
  }

  /** The address that it listens on, with the actual port. */
  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  /** `http://127.0.0.1:9100`, or `unix:PATH`. */
  get url(): string {
    const { addr } = this;
    if (!("hostname" in addr)) return `unix:${(addr as Deno.UnixAddr).path}`;
    return `${this.#options.tls ? "https" : "http"}://${formatAddress({ ...addr, transport: "tcp" })}`;
  }

  /** Replaces the certificate. Does nothing without TLS. A failure is logged, and the replacement is tried again later. */
  async replace(tls: TlsText): Promise<void> {
    if (this.#options.tls === undefined) return;
    this.#tls = tls;
    await this.#replacement.changed();
  }

  /** Reads the key file again. @throws {StartError} if it is not usable */
  reloadKeys(): void {
    this.#options.keys?.reload();
  }

  /** Lets a successor process open the same address. */
  async share(): Promise<void> {
    await this.#listener.share();
  }

  /** Undoes `share()` if the successor has failed. See {@link Listener.takeBack}. */
  takeBack(): void {
    this.#listener.takeBack();
  }

  /**
   * Stops accepting connections, because a successor process does. Connections that are kept alive must end, or Prometheus
   * would scrape this process until it exits. Over HTTP/1.1 the next response ends them (`Connection: close`, RFC 9112
   * section 9.6). HTTP/2, which is only offered with TLS, needs a GOAWAY, which closing the listener sends. Requests in
   * progress are still answered.
   */
  async handOver(): Promise<void> {
    this.#leaving = true;
    await this.#listener.stopAccepting();
    if (this.#options.tls !== undefined) await this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stopped ??= (async () => {
      const replaced = this.#replacement[Symbol.asyncDispose]();
      await this.#listener.stopAccepting();
      await this.#listener.close();
      await replaced;
      await this.#watchdog?.stop();
      await this.#options.keys?.[Symbol.asyncDispose]();
    })();
  }

  async #handle(request: Request, remote: Deno.Addr): Promise<Response> {
    this.#watchdog?.connection(remote, request.body !== null);
    // After a complete body the watchdog waits for the next request.
    const bodyRead = () => void this.#watchdog?.connection(remote, false);
    const response = await this.#respond(request, bodyRead);
    if (this.#leaving) response.headers.set("connection", "close");
    // Over HTTP/2 Deno also sends the body for HEAD, which ends the stream with PROTOCOL_ERROR (measured).
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  async #respond(request: Request, bodyRead: () => void): Promise<Response> {
    const { method } = request;
    try {
      const pathname = pathOf(request);
      this.#refuseBrowsers(request.headers);
      const authorized = this.#hasKey(request.headers);
      if (!authorized) this.#checkHost(request);
      if (pathname.startsWith(API)) return await this.#call(request, pathname.slice(API.length), authorized, bodyRead);
      if (pathname !== "/metrics" && pathname !== "/healthz") throw unknownPath(pathname);
      if (method !== "GET" && method !== "HEAD") return notAllowed("GET, HEAD", method);
      return pathname === "/metrics" ? await this.#metrics() : await this.#health(request.url);
    } catch (error) {
      const reply = this.#api.failure(error);
      if (error instanceof ApiError && (reply.status === 401 || reply.status === 403 || reply.status === 421)) {
        this.#options.log.warn("refused by the admin listener", { status: reply.status, reason: error.message });
      }
      return this.#json(reply);
    }
  }

  /** Refuses pages in browsers. A browser adds one of these headers to every request that a page makes. */
  #refuseBrowsers(headers: Headers): void {
    if (headers.get("origin") === null && headers.get("sec-fetch-site") === null) return;
    throw new ApiError(
      "permissionDenied",
      "pages in browsers cannot use the admin listener; call it from your backend",
    );
  }

  #hasKey(headers: Headers): boolean {
    const { keys } = this.#options;
    if (keys === undefined) return false;
    const { token } = findCredentials({ headers, url: "", offered: [] }, false);
    return token !== undefined && keys.accepts(token);
  }

  /**
   * Refuses other host names for requests without a key. An attacker's DNS may resolve a name with a dot to this address;
   * the attacker's page then has the same origin as the listener (DNS rebinding).
   */
  #checkHost({ url, headers }: Request): void {
    if (this.#unix) return;
    // Over HTTP/2 there is no Host header, and the URL contains the authority. Deno copies any Host into the URL: these
    // characters would change its host.
    const hostname = /[/\\?#@\s]/.test(headers.get("host") ?? "") ? "" : URL.parse(url)?.hostname ?? "";
    if (namesThisMachine(hostname)) return;
    const local = isLocalAddress(this.#options.address);
    if (!local && /^[a-z0-9_-]+$/.test(hostname)) return;
    throw new ApiError(
      "badRequest",
      "Host must be an IP address or localhost, unless the request has a key (--admin-key-file). This prevents access by " +
        "pages in browsers (DNS rebinding)",
      421,
    );
  }

  async #call(request: Request, method: string, authorized: boolean, bodyRead: () => void): Promise<Response> {
    const { keys, maxPayload, handshakeTimeout } = this.#options;
    if (keys === undefined && !this.#unix) {
      throw new ApiError(
        "permissionDenied",
        "the API requires a key: write a key to a file (openssl rand -hex 32), start the service with --admin-key-file FILE, " +
          "and send Authorization: Bearer KEY; on a unix socket (--admin unix:PATH) the file's mode controls access instead",
      );
    }
    if (keys !== undefined && !authorized) {
      throw new ApiError("unauthorized", "one of the keys in --admin-key-file is required: Authorization: Bearer KEY");
    }
    if (request.method !== "POST") return notAllowed("POST", request.method);
    const body = await readJsonBody(request, maxPayload * ESCAPE_LENGTH + ENVELOPE, handshakeTimeout);
    bodyRead();
    return this.#json(await this.#api.call(method, body));
  }

  async #metrics(): Promise<Response> {
    const text = renderMetrics(await this.#options.backend.metrics());
    return new Response(text, {
      headers: { ...COMMON, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
    });
  }

  /** With `?broker` a disconnected broker also causes a 503, for readiness probes. */
  async #health(url: string): Promise<Response> {
    const { draining, broker } = await this.#options.backend.health();
    const includeBroker = new URLSearchParams(url.split("?")[1]).has("broker");
    const bad = draining || (includeBroker && broker === false);
    const body = {
      status: draining ? "draining" : bad ? "broker down" : "ok",
      broker: broker === undefined ? undefined : broker ? "up" : "down",
    };
    return Response.json(body, { status: bad ? 503 : 200, headers: COMMON });
  }

  #json({ status, body }: Reply): Response {
    const headers: Record<string, string> = { ...COMMON };
    if (status === 401) headers["www-authenticate"] = "Bearer";
    return Response.json(body, { status, headers });
  }
}

const COMMON = { "cache-control": "no-store", "x-content-type-options": "nosniff" } as const;

function notAllowed(allow: string, method: string): Response {
  const error = { code: 107, message: `this path allows only ${allow}, not ${method}` };
  return Response.json({ error }, { status: 405, headers: { ...COMMON, allow } });
}

function unknownPath(pathname: string): ApiError {
  return new ApiError(
    "methodNotFound",
    `${pathname.slice(0, 100)} does not exist: the paths are /metrics, /healthz and POST ${API}METHOD`,
  );
}

/** The path of the request. On a unix socket Deno uses a non-standard URL scheme. */
function pathOf({ url }: Request): string {
  const path = /^[a-z+]+:\/\/[^/?#]*([^?#]*)/i.exec(url)?.[1];
  return path || "/";
}

/** Replaces the listener's error: the remedies for the service's port do not apply to this port. */
export function explainError(error: unknown, address: Address): Error {
  if (!(error instanceof StartError)) return error as Error;
  const where = `Cannot open the admin listener on ${formatAddress(address)}: `;
  const { cause } = error;
  if (cause instanceof Deno.errors.AddrInUse) {
    return new StartError(
      `${where}the port is in use by another program; stop that program, or choose another --admin`,
    );
  }
  if (cause instanceof Deno.errors.PermissionDenied && address.transport === "tcp") {
    return new StartError(`${where}binding a port below 1024 requires a privilege; choose another --admin`);
  }
  return new StartError(
    where + messageOf(error).replace(/^Cannot listen on [^ ]+: /, "").replaceAll(/--unix|--host/g, "--admin"),
    { cause },
  );
}
