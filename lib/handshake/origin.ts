/**
 * Which sites' pages may connect. A browser sends its cookies with a WebSocket handshake to any host and no CORS check
 * stands in between, so the Origin header is the only safeguard (RFC 6455 §10.2).
 * @module
 */
import { canonicalAddress, isLoopback } from "../ip.ts";
import type { Refusal } from "./refusal.ts";

/** What the rule looks at. */
export interface OriginFacts {
  /** The Origin header; null is no browser. */
  readonly origin: string | null;
  /** The Host header, or the host that a trusted proxy says the client asked for. */
  readonly host: string;
  /** Whether the request carries Cookie or Authorization: what a browser adds without the page knowing it. */
  readonly credentials: boolean;
}

/** Returns a refusal, or undefined for a welcome request. */
export type OriginRule = (facts: OriginFacts) => Refusal | undefined;

/**
 * Compiles `--origin` once.
 * @param allowed `undefined` is automatic; `*` is anybody; else origins like `https://example.com`
 * @param loopbackOnly whether the service listens on loopback in direct mode, where a foreign page has no business
 * @throws {RangeError} naming the entries that are no origins
 */
export function originRule(allowed: readonly string[] | undefined, loopbackOnly: boolean): OriginRule {
  if (allowed === undefined || allowed.length === 0) return (facts) => automatic(facts, loopbackOnly);
  if (allowed.includes("*")) {
    if (allowed.length > 1) {
      throw new RangeError(`choose one: * is any site, and needs no ${others(allowed)} beside it`);
    }
    return () => undefined;
  }
  const bad = allowed.filter((entry) => normalOrigin(entry) === undefined);
  if (bad.length > 0) {
    const shown = bad.map((entry) => JSON.stringify(entry)).join(", ");
    throw new RangeError(`an origin is scheme, host and port (https://example.com), or *; not ${shown}`);
  }
  const origins = new Set(allowed.map((entry) => normalOrigin(entry)!));
  const list = [...origins].join(", ");
  return ({ origin }) => {
    if (origin === null || origins.has(origin.toLowerCase())) return undefined;
    return refuse(`Pages of ${origin} may not connect: --origin allows ${list}.`);
  };
}

function automatic({ origin, host, credentials }: OriginFacts, loopbackOnly: boolean): Refusal | undefined {
  if (origin === null || sameHost(origin, host)) return undefined;
  if (credentials) {
    return refuse(
      `A page of ${origin} asks ${host} with the user's cookies or credentials: cross-site WebSocket hijacking. ` +
        `If that page is yours, allow it with --origin ${origin}; if a proxy stands in front, let it forward Host.`,
    );
  }
  if (loopbackOnly && !fromLoopback(origin)) {
    return refuse(
      `A page of ${origin} reaches into this machine, and the service listens on loopback only. ` +
        `If that page is yours, allow it with --origin ${origin}.`,
    );
  }
  return undefined;
}

function refuse(reason: string): Refusal {
  return { status: 403, reason };
}

/** Whether the page's own host is the one that it asks. A proxy may have cut the port off Host. */
function sameHost(origin: string, host: string): boolean {
  const page = parse(origin);
  const asked = page && parse(`${page.protocol}//${host}`);
  if (!page || !asked) return false;
  return page.hostname === asked.hostname && (page.port === asked.port || !/:\d+$/.test(host));
}

function fromLoopback(origin: string): boolean {
  const hostname = parse(origin)?.hostname.replace(/^\[|\]$/g, "");
  if (hostname === undefined) return false;
  if (hostname === "localhost" || hostname.endsWith(".localhost")) return true;
  const address = canonicalAddress(hostname);
  return address !== undefined && isLoopback(address);
}

function parse(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function others(allowed: readonly string[]): string {
  return allowed.filter((entry) => entry !== "*").join(", ") || "second *";
}

/** As a browser writes it: lower case, a name in ASCII, no default port. Undefined for what is no origin. */
function normalOrigin(entry: string): string | undefined {
  if (entry === "null") return entry;
  // Extensions and apps in a web view: chrome-extension://abc, capacitor://localhost. To URL their origin is opaque.
  if (/^(?!https?:|wss?:|ftp:|file:)[a-z][a-z0-9+.-]*:\/\/[^\s/?#@*]+$/i.test(entry)) return entry.toLowerCase();
  const url = parse(entry);
  const plain = url && /^https?:$/.test(url.protocol) && url.href === `${url.origin}/` && !url.hostname.includes("*");
  return plain ? url.origin : undefined;
}
