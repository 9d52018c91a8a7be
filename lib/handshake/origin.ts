/**
 * Decides which sites' pages may connect. A browser sends its cookies with a WebSocket handshake to any host, without a
 * CORS check, so the Origin header is the only safeguard (RFC 6455, section 10.2).
 * @module
 */
import type { Mode } from "../config/service_mode.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import { hasForwardingHeader, provesTls, readForwardedHost } from "./proxy_headers.ts";
import type { Refusal } from "./refusal.ts";

/** The facts of a request that the rule uses. */
export interface OriginFacts {
  /** The Origin header. Null: the client is not a browser. */
  readonly origin: string | null;
  /** The Host header, or the host that a trusted proxy forwarded. */
  readonly host: string;
  /** Whether the client requested `host`. If false, a proxy may have replaced it by its own name of the service. */
  readonly hostKnown: boolean;
  /** Whether the client connected over TLS. Undefined if a proxy does not report it. */
  readonly secure: boolean | undefined;
  /** Whether the request has credentials that the browser adds by itself, see `hasAmbientCredentials`. */
  readonly credentials: boolean;
  /** Whether the request appears to come directly from a client, not through a proxy. */
  readonly unproxied: boolean;
  /**
   * Whether DNS rebinding is possible: an unproxied request to a service without TLS, with its port and a host name that
   * does not belong to this machine.
   */
  readonly possibleRebinding: boolean;
  /** Sec-Fetch-Site, which no page can set. Firefox sends it with a handshake, Chromium does not. */
  readonly fetchSite: string | null;
}

/**
 * Reads the facts of a request.
 * @param port the port that the service listens on; undefined for a unix socket
 */
export function readOriginFacts(
  { headers, host: urlHost, trustedProxy }: {
    readonly headers: Headers;
    /** The host of the request's URL. */
    readonly host: string;
    readonly trustedProxy: boolean;
  },
  mode: Mode,
  port: number | undefined,
): OriginFacts {
  const forwarded = trustedProxy ? readForwardedHost(headers) : undefined;
  // If Host is invalid, Deno uses the listening address as the URL's host, for a unix socket its path.
  const { hostname, port: urlPort } = URL.parse(`http://${urlHost}`) ?? { hostname: "", port: "" };
  const ownPort = mode.kind === "proxied" && Number(urlPort || 80) === port;
  const unproxied = mode.kind === "direct" || !trustedProxy ||
    (port !== undefined && (ownPort || isLocalName(hostname)) && !hasForwardingHeader(headers));
  return {
    origin: headers.get("origin"),
    host: forwarded ?? urlHost,
    hostKnown: unproxied || forwarded !== undefined || isPublicName(hostname),
    secure: mode.kind === "direct" || (trustedProxy && provesTls(headers)) ? true : undefined,
    credentials: hasAmbientCredentials(headers),
    unproxied,
    possibleRebinding: unproxied && ownPort && !namesThisMachine(hostname),
    fetchSite: headers.get("sec-fetch-site"),
  };
}

/** Returns a refusal, or undefined if the request is allowed. */
export type OriginRule = (facts: OriginFacts) => Refusal | undefined;

/**
 * Compiles the values of `--origin` into a rule.
 * @param allowed undefined: the automatic rule; `*`: all origins; else origins as clients send them
 * @param local whether the service listens on loopback. Without a proxy it then accepts only pages of this machine
 * @throws {RangeError} that names the invalid entries
 */
export function compileOriginRule(allowed: readonly string[] | undefined, local: boolean): OriginRule {
  if (allowed === undefined || allowed.length === 0) return (facts) => applyAutomaticRule(facts, local);
  if (allowed.includes("*")) {
    if (allowed.length > 1) {
      const others = allowed.filter((entry) => entry !== "*").join(", ") || "another *";
      throw new RangeError(`* allows any site and cannot be combined with ${others}`);
    }
    return () => undefined;
  }
  const problems = allowed.map(findEntryProblem).filter((problem) => problem !== undefined);
  if (problems.length > 0) throw new RangeError(problems.join("; "));
  const origins = new Set(allowed.map(normalizeOrigin));
  const list = [...origins].join(", ");
  return ({ origin }) => {
    if (origin === null || origins.has(normalizeOrigin(origin))) return undefined;
    return refuse(`Pages of ${shorten(origin)} may not connect: --origin allows ${list}. ${advise(origin)}.`);
  };
}

/** Returns a warning for each entry that is a host without a scheme. It is valid, but no browser sends such an Origin. */
export function warnAboutOrigins(allowed: readonly string[] | undefined): string[] {
  return (allowed ?? []).filter((entry) => /^(?:[\w-]+\.)+[a-z][\w-]*(?::\d+)?$|^localhost(?::\d+)?$/i.test(entry)).map(
    (entry) =>
      `--origin ${entry} matches no page in a browser: browsers send https://${entry}, which needs its own --origin`,
  );
}

/** Whether the request has credentials that a browser adds by itself. A Bearer token does not count: the page has to add it. */
export function hasAmbientCredentials(headers: Headers): boolean {
  const authorization = headers.get("authorization");
  return headers.get("cookie") !== null ||
    (authorization !== null && /^(?:basic|digest|negotiate|ntlm)(?: |$)/i.test(authorization)) ||
    CLIENT_CERTIFICATE_HEADERS.some((name) => headers.get(name) !== null);
}

/** Headers in which a proxy forwards the client's certificate (RFC 9440; Envoy; ingress-nginx). */
const CLIENT_CERTIFICATE_HEADERS = ["client-cert", "x-forwarded-client-cert", "ssl-client-cert"];

function applyAutomaticRule(facts: OriginFacts, local: boolean): Refusal | undefined {
  const { origin, host, unproxied } = facts;
  if (origin === null) return undefined;
  const page = URL.parse(origin) ?? undefined;
  const hostname = URL.parse(`http://${host}`)?.hostname;
  if (local && facts.possibleRebinding) {
    return refuse(
      `A page of ${shorten(origin)} connects to this machine by the name ${hostname}, but the service listens on ` +
        `loopback only (DNS rebinding). ${advise(origin)}.`,
    );
  }
  if (isSameSite(page, hostname, facts)) return undefined;
  if (facts.credentials) return refuseCredentials(facts, page, hostname);
  if (local && unproxied && !isLocalName(page?.hostname)) {
    return refuse(
      `A page of ${shorten(origin)} may not connect: the service listens on loopback and accepts only pages of this ` +
        `machine. ${advise(origin)}. If the service is behind a proxy, ${FORWARD_HOST}.`,
    );
  }
  return undefined;
}

const FORWARD_HOST = "let the proxy forward the host that the client requested (nginx: proxy_set_header Host $host; " +
  "Apache: ProxyPreserveHost On)";

/** The refusal of another site's page that connects with credentials. */
function refuseCredentials({ origin, host, hostKnown }: OriginFacts, page?: URL, hostname?: string): Refusal {
  const site = shorten(origin!);
  if (!hostKnown) {
    const reason =
      `A page of ${site} connects with the user's cookies or credentials. The proxy does not forward the ` +
      `requested host (Host: ${host}), so this may be cross-site WebSocket hijacking. To allow pages of the same ` +
      `host, ${FORWARD_HOST}. ${advise(origin!)}.`;
    return { ...refuse(reason), warning: reason };
  }
  if (page?.protocol === "http:" && page.hostname === hostname) {
    return refuse(
      `A page of ${site} connects with the user's cookies or credentials: cross-site WebSocket hijacking. The page was ` +
        `loaded without TLS, so it is not of the same site as this service. Serve the page over https. ${
          advise(origin!)
        }.`,
    );
  }
  return refuse(
    `A page of ${site} connects to ${host} with the user's cookies or credentials: cross-site WebSocket hijacking. ` +
      `${advise(origin!)}. If the service is behind a proxy, ${FORWARD_HOST}.`,
  );
}

/**
 * Whether the page is of the site that it connects to: the same host over https, on any port, because cookies are shared
 * between ports. A page without TLS is of the same site only if the service is not known to have TLS: anybody between
 * server and browser can have changed that page.
 */
function isSameSite(page: URL | undefined, hostname: string | undefined, facts: OriginFacts): boolean {
  if (!facts.hostKnown && facts.fetchSite === "same-origin") return true;
  if (page === undefined || page.hostname !== hostname) return false;
  return page.protocol === "https:" || (page.protocol === "http:" && facts.secure !== true);
}

/** Whether a host is a DNS name, not an address and not a name that exists only in a proxy's configuration. */
function isPublicName(hostname: string): boolean {
  return !namesThisMachine(hostname) && hostname.includes(".");
}

/**
 * Whether a host in a request to a service on loopback belongs to this machine: an address, or a localhost name. Any other
 * name may come from an attacker's DNS (DNS rebinding).
 * @param hostname the `hostname` of a URL
 */
export function namesThisMachine(hostname: string): boolean {
  return isAddress(hostname) || isLocalName(hostname);
}

function isAddress(hostname: string): boolean {
  return canonicalAddress(hostname.replace(/^\[|\]$/g, "")) !== undefined;
}

/** Whether a host is a localhost name or a loopback address. @param hostname the `hostname` of a URL */
export function isLocalName(hostname: string | undefined): boolean {
  if (hostname === undefined) return false;
  if (hostname === "localhost" || hostname.endsWith(".localhost")) return true;
  const address = canonicalAddress(hostname.replace(/^\[|\]$/g, ""));
  return address !== undefined && isLoopback(address);
}

function refuse(reason: string): Refusal {
  return { status: 403, reason };
}

/** Returns the option that allows the page, quoted for a shell if necessary. */
function advise(origin: string): string {
  const text = normalizeOrigin(origin);
  if (findEntryProblem(text) !== undefined) return "No browser sends such an Origin, and --origin cannot allow it";
  const quoted = /^[A-Za-z0-9._~:/@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  return `If that page is yours, allow it with --origin ${shorten(quoted)}`;
}

/** Shortens what a client sent, for responses and the log. */
function shorten(origin: string): string {
  return origin.length > 200 ? `${origin.slice(0, 200)}…` : origin;
}

/**
 * Normalizes an origin. Of http, https, ws and wss: scheme, host and port in lower case, the host in ASCII, without a
 * default port, with ws as http and wss as https. Anything else (null, file://, app://localhost, a bare word): in lower
 * case, without a final slash.
 */
function normalizeOrigin(text: string): string {
  const url = HTTP_SCHEME.test(text) ? URL.parse(text.replace(/^ws/i, "http")) : null;
  return url?.origin ?? text.toLowerCase().replace(/(?<=[^/])\/$/, "");
}

const HTTP_SCHEME = /^(?:https?|wss?):/i;

/** Returns why no client sends an entry of `--origin`, or undefined if it is valid. */
function findEntryProblem(entry: string): string | undefined {
  const text = JSON.stringify(entry);
  // deno-lint-ignore no-control-regex -- no header can contain them
  if (entry === "" || /[\u0000-\u001f\u007f]/.test(entry) || entry !== entry.trim()) return `${text} is not an origin`;
  if (!HTTP_SCHEME.test(entry)) {
    return entry.includes("*") ? `${text}: list each origin; * cannot be part of an origin` : undefined;
  }
  const url = URL.parse(entry);
  if (url === null || url.hostname.includes("*")) {
    return `${text}: an origin is scheme, host and port (https://example.com), or * for any site`;
  }
  if (url.href === `${url.origin}/`) return undefined;
  return `${text}: an origin has scheme, host and port only: ${url.origin}`;
}
