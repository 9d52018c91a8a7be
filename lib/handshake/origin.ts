/**
 * Which sites' pages may connect. A browser sends its cookies with a WebSocket handshake to any host and no CORS check
 * stands in between, so the Origin header is the only safeguard (RFC 6455 section 10.2).
 * @module
 */
import type { Mode } from "../config/service_mode.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import { forwardedHost, hasForwardingHeader, provesTls } from "./proxy_headers.ts";
import type { Refusal } from "./refusal.ts";

/** What the rule looks at. */
export interface OriginFacts {
  /** The Origin header; null is no browser. */
  readonly origin: string | null;
  /** The Host header, or the host that a trusted proxy says the client asked for. */
  readonly host: string;
  /** Whether `host` is what the client asked for; a proxy may have put its own name for the service in its place. */
  readonly hostKnown: boolean;
  /** Whether the client came over TLS; undefined where a proxy in front does not say. */
  readonly secure: boolean | undefined;
  /** Whether a browser added what the page need not know: see `hasAmbientCredentials`. */
  readonly credentials: boolean;
  /** Whether the request seems to come from a client itself, and not through a proxy. */
  readonly straight: boolean;
  /** Whether it asks a plain service under a name that is not this machine's, at the very port that it listens on. */
  readonly rebound: boolean;
  /** Sec-Fetch-Site, which Firefox sends with a handshake and Chromium does not; no page can set it. */
  readonly fetchSite: string | null;
}

/**
 * Reads the facts from a request.
 * @param port that the service listens on; undefined for a unix socket
 */
export function originFacts(
  { headers, host: asked, trustedProxy }: {
    readonly headers: Headers;
    /** Of the request's URL. */
    readonly host: string;
    readonly trustedProxy: boolean;
  },
  mode: Mode,
  port: number | undefined,
): OriginFacts {
  const forwarded = trustedProxy ? forwardedHost(headers) : undefined;
  // A Host that is none leaves Deno's own word for the address: of a unix socket its path.
  const { hostname, port: askedPort } = URL.parse(`http://${asked}`) ?? { hostname: "", port: "" };
  const ownPort = mode.kind === "proxied" && Number(askedPort || 80) === port;
  const straight = mode.kind === "direct" || !trustedProxy ||
    (port !== undefined && (ownPort || isLocalName(hostname)) && !hasForwardingHeader(headers));
  return {
    origin: headers.get("origin"),
    host: forwarded ?? asked,
    hostKnown: straight || forwarded !== undefined || isPublicName(hostname),
    secure: mode.kind === "direct" || (trustedProxy && provesTls(headers)) ? true : undefined,
    credentials: hasAmbientCredentials(headers),
    straight,
    rebound: straight && ownPort && !namesThisMachine(hostname),
    fetchSite: headers.get("sec-fetch-site"),
  };
}

/** Returns a refusal, or undefined for a request that may go on. */
export type OriginRule = (facts: OriginFacts) => Refusal | undefined;

/**
 * Compiles `--origin` once.
 * @param allowed undefined is automatic; `*` is anybody; else origins as clients send them
 * @param local whether the service listens on loopback, where a foreign page that comes without a proxy has no business
 * @throws {RangeError} naming the entries that are no origins
 */
export function originRule(allowed: readonly string[] | undefined, local: boolean): OriginRule {
  if (allowed === undefined || allowed.length === 0) return (facts) => automatic(facts, local);
  if (allowed.includes("*")) {
    if (allowed.length > 1) {
      const others = allowed.filter((entry) => entry !== "*").join(", ") || "second *";
      throw new RangeError(`choose one: * is any site, and needs no ${others} beside it`);
    }
    return () => undefined;
  }
  const problems = allowed.map(problemOf).filter((problem) => problem !== undefined);
  if (problems.length > 0) throw new RangeError(problems.join("; "));
  const origins = new Set(allowed.map(normalOrigin));
  const list = [...origins].join(", ");
  return ({ origin }) => {
    if (origin === null || origins.has(normalOrigin(origin))) return undefined;
    return refuse(`Pages of ${shown(origin)} may not connect: --origin allows ${list}. ${ifYours(origin)}.`);
  };
}

/** Entries that are allowed and probably not meant so: a host without its scheme, which no browser sends. */
export function originWarnings(allowed: readonly string[] | undefined): string[] {
  return (allowed ?? []).filter((entry) => /^(?:[\w-]+\.)+[a-z][\w-]*(?::\d+)?$|^localhost(?::\d+)?$/i.test(entry)).map(
    (entry) =>
      `--origin ${entry} is no page of a browser, which sends https://${entry}: that needs an entry of its own`,
  );
}

/** Whether the request carries what a browser adds by itself. A Bearer token is none: the page must know it. */
export function hasAmbientCredentials(headers: Headers): boolean {
  const authorization = headers.get("authorization");
  return headers.get("cookie") !== null ||
    (authorization !== null && /^(?:basic|digest|negotiate|ntlm)(?: |$)/i.test(authorization)) ||
    CLIENT_CERTIFICATE.some((name) => headers.get(name) !== null);
}

/** Headers in which a proxy passes a client's certificate on (RFC 9440; Envoy; ingress-nginx). */
const CLIENT_CERTIFICATE = ["client-cert", "x-forwarded-client-cert", "ssl-client-cert"];

function automatic(facts: OriginFacts, local: boolean): Refusal | undefined {
  const { origin, host, straight } = facts;
  if (origin === null) return undefined;
  const page = URL.parse(origin) ?? undefined;
  const asked = URL.parse(`http://${host}`)?.hostname;
  if (local && facts.rebound) {
    return refuse(
      `A page of ${shown(origin)} reaches this machine under the name ${asked}, and the service listens on loopback ` +
        `only (DNS rebinding). ${ifYours(origin)}.`,
    );
  }
  if (isOwnSite(page, asked, facts)) return undefined;
  if (facts.credentials) return withCredentials(facts, page, asked);
  if (local && straight && !isLocalName(page?.hostname)) {
    return refuse(
      `A page of ${shown(origin)} reaches into this machine, and the service listens on loopback only. ` +
        `${ifYours(origin)}; if a proxy stands in front, ${FORWARD_HOST}.`,
    );
  }
  return undefined;
}

const FORWARD_HOST = "let it forward the host that the client asked for (nginx: proxy_set_header Host $host; " +
  "Apache: ProxyPreserveHost On)";

function withCredentials({ origin, host, hostKnown }: OriginFacts, page?: URL, asked?: string): Refusal {
  const from = shown(origin!);
  if (!hostKnown) {
    const reason = `A page of ${from} connects with the user's cookies or credentials, and the proxy in front does ` +
      `not say which host it asked for (Host: ${host}), so that it cannot be told from a page of another site: ` +
      `${FORWARD_HOST}. ${ifYours(origin!)}.`;
    return { ...refuse(reason), warning: reason };
  }
  if (page?.protocol === "http:" && page.hostname === asked) {
    return refuse(
      `A page of ${from}, which came without TLS and so is of another site than this service, connects with the ` +
        `user's cookies or credentials: cross-site WebSocket hijacking. Serve the page over https. ${
          ifYours(origin!)
        }.`,
    );
  }
  return refuse(
    `A page of ${from} asks ${host} with the user's cookies or credentials: cross-site WebSocket hijacking. ` +
      `${ifYours(origin!)}; if a proxy stands in front, ${FORWARD_HOST}.`,
  );
}

/**
 * Whether the page is of the site that it connects to: the same host over https, whatever the port, as cookies do not
 * tell ports apart. A page without TLS is of the site only where the service has none either, as far as is known:
 * anybody on its way may have written it.
 */
function isOwnSite(page: URL | undefined, asked: string | undefined, facts: OriginFacts): boolean {
  if (!facts.hostKnown && facts.fetchSite === "same-origin") return true;
  if (page === undefined || page.hostname !== asked) return false;
  return page.protocol === "https:" || (page.protocol === "http:" && facts.secure !== true);
}

/** Whether a host is a name of DNS, and not an address or a name that only a proxy's configuration has. */
function isPublicName(hostname: string): boolean {
  return !namesThisMachine(hostname) && hostname.includes(".");
}

/**
 * Whether a request to a service on loopback names this machine: an address, or a name that always means it. Of any
 * other name somebody else's DNS may have brought a browser here (DNS rebinding).
 * @param hostname as a URL has it
 */
export function namesThisMachine(hostname: string): boolean {
  return isAddress(hostname) || isLocalName(hostname);
}

function isAddress(hostname: string): boolean {
  return canonicalAddress(hostname.replace(/^\[|\]$/g, "")) !== undefined;
}

function isLocalName(hostname: string | undefined): boolean {
  if (hostname === undefined) return false;
  if (hostname === "localhost" || hostname.endsWith(".localhost")) return true;
  const address = canonicalAddress(hostname.replace(/^\[|\]$/g, ""));
  return address !== undefined && isLoopback(address);
}

function refuse(reason: string): Refusal {
  return { status: 403, reason };
}

/** What allows the page, to be copied: in quotes where a shell would take it apart. */
function ifYours(origin: string): string {
  const text = normalOrigin(origin);
  if (problemOf(text) !== undefined) return "No browser sends such an Origin, and no --origin names it";
  const quoted = /^[A-Za-z0-9._~:/@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  return `If that page is yours, allow it with --origin ${shown(quoted)}`;
}

/** What a client sent, as far as an answer and a log need it. */
function shown(origin: string): string {
  return origin.length > 200 ? `${origin.slice(0, 200)}…` : origin;
}

/**
 * One form for what is equal: of http and https scheme, host and port, in lower case, the name in ASCII, without a
 * default port, ws and wss as the http and https that a page has; anything else (null, file://, app://localhost, a bare
 * word) in lower case, without a slash at its end.
 */
function normalOrigin(text: string): string {
  const url = HTTP.test(text) ? URL.parse(text.replace(/^ws/i, "http")) : null;
  return url?.origin ?? text.toLowerCase().replace(/(?<=[^/])\/$/, "");
}

const HTTP = /^(?:https?|wss?):/i;

/** Why an entry of `--origin` is no origin that a client sends. */
function problemOf(entry: string): string | undefined {
  const text = JSON.stringify(entry);
  // deno-lint-ignore no-control-regex -- no header can hold them
  if (entry === "" || /[\u0000-\u001f\u007f]/.test(entry) || entry !== entry.trim()) return `${text} is no origin`;
  if (!HTTP.test(entry)) {
    return entry.includes("*") ? `${text}: * stands alone, for any site; name each origin` : undefined;
  }
  const url = URL.parse(entry);
  if (url === null || url.hostname.includes("*")) {
    return `${text}: an origin is scheme, host and port (https://example.com), or * alone for any`;
  }
  if (url.href === `${url.origin}/`) return undefined;
  return `${text}: an origin has scheme, host and port only: ${url.origin}`;
}
