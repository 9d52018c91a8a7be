/**
 * What a proxy in front says of its client: address, TLS, host. Pure functions over headers; only a trusted proxy is
 * believed.
 * @module
 */
import { type AddressSet, canonicalAddress } from "../ip.ts";
import { type ForwardedElement, parseForwarded } from "./forwarded_header.ts";

/** Where a proxy writes its client's address; `auto` takes what is there, `none` only the socket's peer. */
export type AddressHeader = "auto" | "x-real-ip" | "x-forwarded-for" | "forwarded" | "none";

/** Whom to believe, and what. */
export interface AddressRules {
  /** Whose forwarding headers are believed. The peer of a unix socket always is. */
  readonly trusted: AddressSet;
  /** Default `auto`. */
  readonly header?: AddressHeader;
}

/** Who is at the other end. */
export interface ClientAddress {
  /** Canonical. Undefined only behind a unix socket whose proxy names nobody, or nobody believable. */
  readonly address: string | undefined;
  /** The socket's peer is a proxy whose headers count. */
  readonly trustedProxy: boolean;
  /** The forwarding header of a peer that is no trusted proxy, and that is therefore ignored: its name. */
  readonly ignored?: string;
  /** `auto` only: headers that name different clients, so that none was believed. One sentence for the log. */
  readonly conflict?: string;
}

type Source = Exclude<AddressHeader, "auto" | "none">;
type Hops = readonly (() => string | undefined)[];

const SOURCES: readonly (readonly [Source, string])[] = [
  ["x-real-ip", "X-Real-IP"],
  ["x-forwarded-for", "X-Forwarded-For"],
  ["forwarded", "Forwarded"],
];

/**
 * The client's address: the socket's peer, or what trusted proxies say of it. A header's hops are walked from the right,
 * through trusted addresses to the first that is not; one that is no address (`unknown`, `_hidden`, a typo) stops the
 * walk, and the last good address counts.
 *
 * `auto` believes a header only where no other one contradicts it. Proxies set some of the three and pass on the rest
 * as the client sent them (nginx as commonly configured sets X-Real-IP alone; Apache, Caddy and HAProxy X-Forwarded-For
 * alone), so of two that disagree one is forged, and nothing in the request tells which. Then the address is the proxy's
 * own: a forger can hide in there, and be nobody else. X-Real-IP may also name a trusted proxy that the other header's
 * walk passes through. Naming the proxy's header (`--client-address-header`) ends the guessing, and the others are not read.
 *
 * @param remote the socket's peer, canonical; undefined for a unix socket
 */
export function clientAddress(headers: Headers, remote: string | undefined, rules: AddressRules): ClientAddress {
  const { trusted, header = "auto" } = rules;
  if (remote !== undefined && !trusted.has(remote)) {
    const ignored = SOURCES.find(([source]) => headers.get(source) !== null)?.[1];
    return { address: remote, trustedProxy: false, ...(ignored === undefined ? {} : { ignored }) };
  }

  const walks = SOURCES
    .filter(([source]) => header === "auto" ? headers.get(source) !== null : header === source)
    .map(([source, name]) => ({ source, name, ...walk(hopsOf(headers, source), remote, trusted) }));
  // A list names more hops than X-Real-IP, which is the first of them or the last.
  const best = walks.find(({ source }) => source !== "x-real-ip") ?? walks[0];
  const agree = walks.every(({ source, address, passed }) =>
    address === best?.address || (source === "x-real-ip" && passed.length === 1 && best!.passed.includes(passed[0]!))
  );
  if (!agree) {
    const said = walks.map(({ name, address }) => `${name} names ${address ?? "nobody"}`).join(", ");
    const conflict = `${said}: one of them was passed on as the client sent it, so none is believed; ` +
      `say which one the proxy sets with --client-address-header`;
    return { address: remote, trustedProxy: true, conflict };
  }
  return { address: best === undefined ? remote : best.address, trustedProxy: true };
}

/** Follows hops from the last to the first while they are trusted. `passed`: those that are addresses, the client's too. */
function walk(hops: Hops, remote: string | undefined, trusted: AddressSet): { address?: string; passed: string[] } {
  const passed: string[] = [];
  for (let at = hops.length - 1; at >= 0; at--) {
    const hop = hops[at]!();
    if (hop === undefined) break;
    passed.push(hop);
    if (!trusted.has(hop)) break;
  }
  return { address: passed.at(-1) ?? remote, passed };
}

/** The hops that a header names, the client's first, each read only when the walk comes to it; undefined for no address. */
function hopsOf(headers: Headers, source: Source): Hops {
  const text = headers.get(source);
  if (text === null) return [];
  if (source === "x-real-ip") return [() => parseHop(text)];
  if (source === "x-forwarded-for") return text.split(",").map((hop) => () => parseHop(hop.trim()));
  return (parseForwarded(text) ?? []).map((element) => () => parseNode(element.get("for")));
}

/** X-Forwarded-For has no specification: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. */
function parseHop(text: string): string | undefined {
  return canonicalAddress(text) ?? parseNode(text);
}

/** RFC 7239 §6: an IPv4 address or a bracketed IPv6 one, with a port or an obfuscated port (`_secret`). */
function parseNode(text: string | undefined): string | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:(\d{1,5})|_[A-Za-z0-9._-]+))?$/.exec(text ?? "");
  if (!match || Number(match[3] ?? 0) > 65_535) return undefined;
  if (match[1] !== undefined && !match[1].includes(":")) return undefined;
  return canonicalAddress(match[1] ?? match[2]!);
}

/** What a client's TLS must have been. */
export interface TlsRules {
  readonly minTls: "1.2" | "1.3";
  /** Refuse where the proxy does not prove TLS. */
  readonly strict: boolean;
}

/**
 * Whether the proxy says that its client came over TLS that is good enough: `X-Forwarded-Proto` and `Forwarded` for
 * whether, `X-SSL-Protocol` for which version. Every hop that a header names must be.
 * @param trustedProxy from `clientAddress`; the headers of anybody else prove and disprove nothing
 * @returns undefined where it is fine, else the reason for a 426, one sentence
 */
export function proxyTls(headers: Headers, trustedProxy: boolean, rules: TlsRules): string | undefined {
  if (!trustedProxy) {
    return rules.strict ? "strict-proxy: this connection does not come from a trusted proxy" : undefined;
  }
  const protos = tokensOf(headers, "x-forwarded-proto");
  const versions = tokensOf(headers, "x-ssl-protocol");
  const plain = protos.find(isPlain);
  if (plain !== undefined) return withoutTls(`X-Forwarded-Proto: ${plain}`);
  const forwarded = elementsOf(headers).map((element) => element.get("proto")?.toLowerCase() ?? "").find(isPlain);
  if (forwarded !== undefined) return withoutTls(`Forwarded: proto=${forwarded}`);

  for (const version of versions) {
    const number = /^tls ?v?(\d+(?:\.\d+)?)$/.exec(version)?.[1];
    if (number === undefined || Number(number) < Number(rules.minTls)) {
      const shown = version.replace(/[^a-z0-9.()_-]/g, "?").slice(0, 20);
      return `TLS ${rules.minTls} at least is needed, and the proxy says that the client came with X-SSL-Protocol: ${shown}`;
    }
  }
  if (rules.strict && !provesTls(headers)) {
    return "strict-proxy: the proxy does not prove TLS (X-Forwarded-Proto: https, or X-SSL-Protocol: TLSv1.3)";
  }
  return undefined;
}

/** What a client without TLS gets to read; so does one whose TLS ended one proxy earlier, in front of this one. */
function withoutTls(header: string): string {
  return `the proxy says that the client came without TLS (${header}): connect to the proxy with wss://; where TLS ends ` +
    "at another proxy in front of that one, let the inner one pass on what the outer one says " +
    "(nginx: proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto)";
}

/** Whether a proxy says that its client came over TLS. Ask only of a trusted one, and after `proxyTls`. */
export function provesTls(headers: Headers): boolean {
  const protos = tokensOf(headers, "x-forwarded-proto");
  return tokensOf(headers, "x-ssl-protocol").length > 0 ||
    (protos.length > 0 && protos.every((proto) => proto === "https" || proto === "wss"));
}

/** Whether a request carries what a proxy adds about its client. No page of a browser can set one of these. */
export function hasForwardingHeader(headers: Headers): boolean {
  return FORWARDING.some((name) => headers.get(name) !== null);
}

const FORWARDING = [
  ...["x-real-ip", "x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-ssl-protocol"],
  ...["x-forwarded-port", "x-forwarded-server", "via"],
];

function isPlain(proto: string): boolean {
  return proto === "http" || proto === "ws";
}

/** The list of a header, lower case; empty for an empty header. */
function tokensOf(headers: Headers, name: string): string[] {
  return (headers.get(name) ?? "").split(",").map((token) => token.trim().toLowerCase()).filter((token) =>
    token !== ""
  );
}

function elementsOf(headers: Headers): readonly ForwardedElement[] {
  const text = headers.get("forwarded");
  return text === null ? [] : parseForwarded(text) ?? [];
}

/**
 * The host that the client asked for, with its port where it named one, lower case: `X-Forwarded-Host`, or `host` of
 * `Forwarded`; of several proxies the first one's. Read it only from a trusted proxy, and only to compare: a client that
 * is no browser can send what it likes through a proxy that sets neither.
 * @returns undefined where there is none, or none that is a host
 */
export function forwardedHost(headers: Headers): string | undefined {
  const host = tokensOf(headers, "x-forwarded-host")[0] ?? elementsOf(headers)[0]?.get("host")?.toLowerCase();
  return host !== undefined && /^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.test(host) ? host : undefined;
}
