/**
 * The admin listener: the HTTP API, `/metrics` and `/healthz` for backends and operators, on an address of its own.
 * @module
 */
import { findCredentials } from "../auth/request_credentials.ts";
import { isLocalAddress } from "../config/admin_address.ts";
import type { Address } from "../config/service_mode.ts";
import { messageOf, stackOf, StartError } from "../errors.ts";
import { namesThisMachine } from "../handshake/origin.ts";
import type { Logger } from "../log.ts";
import { type MetricValues, renderMetrics } from "../metrics.ts";
import { describe, type TlsText } from "../net/listener/accept_loop.ts";
import { Listener } from "../net/listener/listener.ts";
import { Watchdog } from "../net/watchdog/watchdog.ts";
import { Api, type Reply } from "./api_dispatcher.ts";
import { ApiError } from "./api_error.ts";
import type { AdminKeys } from "./admin_keys.ts";
import type { ApiCommand } from "./api_methods.ts";
import { readJson } from "./read_json_body.ts";

/** Whether the service is well. */
export interface Health {
  readonly draining: boolean;
  /** Whether its broker is connected; undefined where it has none. */
  readonly broker: boolean | undefined;
}

/** The service behind the listener: of this process, or the workers of a supervisor. */
export interface AdminBackend {
  /** Does what a command says, on all nodes. @throws {ApiError} */
  execute(command: ApiCommand): Promise<object>;
  metrics(): Promise<MetricValues>;
  health(): Promise<Health>;
}

/** How to listen. */
export interface AdminListenerOptions {
  readonly address: Address;
  /** Undefined: plain HTTP. */
  readonly tls: TlsText | undefined;
  /** Undefined: the API answers on a unix socket only. */
  readonly keys: AdminKeys | undefined;
  readonly backend: AdminBackend;
  /** Bytes of the longest message. */
  readonly maxPayload: number;
  /** How long a request's head may take, and its body, ms. */
  readonly handshakeTimeout: number;
  /** A predecessor process shares the address. */
  readonly takeover: boolean;
  /** Throttled. */
  readonly log: Logger;
}

/** Bytes of a body beside its data, which base64 makes a third longer. */
const ENVELOPE = 4096;
/** What the answer to a slow body has before the connection is cut, ms. */
const ANSWER_GRACE = 1000;
const API = "/api/";

/** See the module. */
export class AdminListener implements AsyncDisposable {
  readonly #options: AdminListenerOptions;
  readonly #api: Api;
  readonly #unix: boolean;
  #listener!: Listener;
  #watchdog: Watchdog | undefined;
  /** Whether a successor has the address. */
  #leaving = false;
  #stopped: Promise<void> | undefined;

  private constructor(options: AdminListenerOptions) {
    this.#options = options;
    this.#unix = options.address.transport === "unix";
    this.#api = new Api({
      execute: (command) => options.backend.execute(command),
      maxPayload: options.maxPayload,
      failed: (error) => options.log.error("a call of the admin API failed", { error }),
    });
  }

  /**
   * Opens it.
   * @throws {StartError} the port is taken or forbidden, and what to do
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
      throw explained(error, address);
    }
    // It cuts whoever goes on with a body that was refused: Deno would read it to its end.
    const limits = { handshakeTimeout: handshakeTimeout + ANSWER_GRACE, maxPayload };
    admin.#watchdog = Watchdog.start({ addr: admin.addr, ...limits, log });
    if (!isLocalAddress(address) && tls === undefined) {
      log.warn(
        `--admin ${describe(address)} can be reached from other machines without TLS: whoever is on the way can read ` +
          "the keys; add --admin-tls, or listen on 127.0.0.1",
      );
    }
    return admin;
  }

  /** Where it listens, with the real port. */
  get addr(): Deno.Addr {
    return this.#listener.addr;
  }

  /** `http://127.0.0.1:9100`, or `unix:PATH`. */
  get url(): string {
    const { addr } = this;
    if (!("hostname" in addr)) return `unix:${(addr as Deno.UnixAddr).path}`;
    return `${this.#options.tls ? "https" : "http"}://${describe({ ...addr, transport: "tcp" })}`;
  }

  /** Serves with another certificate; nothing where it serves without TLS. Where it cannot, the log says why. */
  async replace(tls: TlsText): Promise<void> {
    try {
      if (this.#options.tls !== undefined) await this.#listener.replace(tls);
    } catch (error) {
      this.#options.log.error(`the admin listener goes on with the old certificate: ${messageOf(error)}`);
    }
  }

  /** Reads the file of keys again. @throws {StartError} why it is not usable */
  reloadKeys(): void {
    this.#options.keys?.reload();
  }

  /** Lets a successor process open the same address. */
  async share(): Promise<void> {
    await this.#listener.share();
  }

  /**
   * Accepts nothing new: a successor does. Clients that keep a connection go there too, or a Prometheus would scrape
   * this process until it ends. HTTP/1.1 learns of it from the next answer (RFC 9112 section 9.6). HTTP/2, which comes
   * with TLS only, needs a GOAWAY, which closing sends; requests in progress are still answered.
   */
  async handOver(): Promise<void> {
    this.#leaving = true;
    await this.#listener.stopAccepting();
    if (this.#options.tls !== undefined) await this[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stopped ??= (async () => {
      await this.#listener.stopAccepting();
      await this.#listener.close();
      await this.#watchdog?.stop();
      await this.#options.keys?.[Symbol.asyncDispose]();
    })();
  }

  async #handle(request: Request, remote: Deno.Addr): Promise<Response> {
    this.#watchdog?.connection(remote, request.body !== null);
    // Once a body is whole, the watchdog is to wait for the next request.
    const whole = () => void this.#watchdog?.connection(remote, false);
    const response = await this.#answer(request, whole);
    if (this.#leaving) response.headers.set("connection", "close");
    // Over HTTP/2 Deno sends the body to a HEAD too, which ends its stream with PROTOCOL_ERROR (measured).
    return request.method === "HEAD" ? new Response(null, response) : response;
  }

  async #answer(request: Request, whole: () => void): Promise<Response> {
    const { method } = request;
    try {
      const pathname = pathOf(request);
      this.#refuseBrowsers(request.headers);
      const authorized = this.#hasKey(request.headers);
      if (!authorized) this.#checkHost(request);
      if (pathname.startsWith(API)) return await this.#call(request, pathname.slice(API.length), authorized, whole);
      if (pathname !== "/metrics" && pathname !== "/healthz") throw nothingHere(pathname);
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

  /** No page of a browser has any business here; each sends one of these with a request that it makes for a page. */
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
   * Of a name with a dot somebody else's DNS may have brought a browser here, whose page then has the listener's own
   * origin (DNS rebinding). Whoever has a key is no such page.
   */
  #checkHost({ url, headers }: Request): void {
    if (this.#unix) return;
    // Over HTTP/2 there is no Host, and the URL has what took its place. Deno pastes any Host into the URL: one with
    // these would move it.
    const hostname = /[/\\?#@\s]/.test(headers.get("host") ?? "") ? "" : URL.parse(url)?.hostname ?? "";
    if (namesThisMachine(hostname)) return;
    const local = isLocalAddress(this.#options.address);
    if (!local && /^[a-z0-9_-]+$/.test(hostname)) return;
    throw new ApiError(
      "badRequest",
      "Host: an address or localhost is required, or a key (--admin-key-file): of another name a page in a browser may " +
        "have come here (DNS rebinding)",
      421,
    );
  }

  async #call(request: Request, method: string, authorized: boolean, whole: () => void): Promise<Response> {
    const { keys, maxPayload, handshakeTimeout } = this.#options;
    if (keys === undefined && !this.#unix) {
      throw new ApiError(
        "permissionDenied",
        "the API needs a key: put one into a file (openssl rand -hex 32), give it to the service with --admin-key-file FILE, " +
          "and send it as Authorization: Bearer KEY; on a unix socket (--admin unix:PATH) the file's mode decides instead",
      );
    }
    if (keys !== undefined && !authorized) {
      throw new ApiError("unauthorized", "one of the keys in --admin-key-file is required: Authorization: Bearer KEY");
    }
    if (request.method !== "POST") return notAllowed("POST", request.method);
    const body = await readJson(request, Math.ceil(maxPayload * 4 / 3) + ENVELOPE, handshakeTimeout);
    whole();
    return this.#json(await this.#api.call(method, body));
  }

  async #metrics(): Promise<Response> {
    const text = renderMetrics(await this.#options.backend.metrics());
    return new Response(text, {
      headers: { ...COMMON, "content-type": "text/plain; version=0.0.4; charset=utf-8" },
    });
  }

  /** With `?broker` a broker that is away counts: for readiness, where a node alone is of no use. */
  async #health(url: string): Promise<Response> {
    const { draining, broker } = await this.#options.backend.health();
    const counts = new URLSearchParams(url.split("?")[1]).has("broker");
    const bad = draining || (counts && broker === false);
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
  const error = { code: 107, message: `this path answers ${allow}, not ${method}` };
  return Response.json({ error }, { status: 405, headers: { ...COMMON, allow } });
}

function nothingHere(pathname: string): ApiError {
  return new ApiError(
    "methodNotFound",
    `nothing is at ${pathname.slice(0, 100)}: there are /metrics, /healthz and POST ${API}METHOD`,
  );
}

/** The path of the request. On a unix socket the URL has a scheme of Deno's own. */
function pathOf({ url }: Request): string {
  const path = /^[a-z+]+:\/\/[^/?#]*([^?#]*)/i.exec(url)?.[1];
  return path || "/";
}

/** The remedies of the service's own port do not fit this one. */
function explained(error: unknown, address: Address): Error {
  if (!(error instanceof StartError)) return error as Error;
  const where = `Cannot open the admin listener on ${describe(address)}: `;
  const { cause } = error;
  if (cause instanceof Deno.errors.AddrInUse) {
    return new StartError(`${where}the port is in use by another program; stop that one, or give another --admin`);
  }
  if (cause instanceof Deno.errors.PermissionDenied && address.transport === "tcp") {
    return new StartError(`${where}a port below 1024 needs the right to bind it; give another --admin`);
  }
  return new StartError(
    where + messageOf(error).replace(/^Cannot listen on [^ ]+: /, "").replaceAll(/--unix|--host/g, "--admin"),
    { cause },
  );
}
