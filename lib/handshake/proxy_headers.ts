/**
 * Reads what a trusted proxy reports about its client: address, TLS and host. Pure functions of the headers.
 * @module
 */
import { type AddressSet, canonicalAddress } from "../ip.ts";
import { type ForwardedElement, parseForwarded } from "./forwarded_header.ts";

/** The header with the client's address. `auto`: whichever is present. `none`: the address of the socket's peer is used. */
export type AddressHeader = "auto" | "x-real-ip" | "x-forwarded-for" | "forwarded" | "none";

/** The rules for finding the client's address. */
export interface AddressRules {
  /** The trusted proxies. The peer of a unix socket is always trusted. */
  readonly trusted: AddressSet;
  /** The header to use. Default `auto`. */
  readonly header?: AddressHeader;
}

/** The address of a client. */
export interface ClientAddress {
  /** The canonical address. Undefined if the peer is a unix socket and the proxy sends no usable address. */
  readonly address: string | undefined;
  /** Whether the socket's peer is a trusted proxy, whose forwarding headers are used. */
  readonly trustedProxy: boolean;
  /** The name of a forwarding header that was ignored, because the peer is not a trusted proxy. */
  readonly ignored?: string;
  /** With `auto`: a message for the log if headers contradict each other, so that none was used. */
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
 * Finds the client's address: the address of the socket's peer, or the one that trusted proxies report. A header's hops
 * are followed from right to left, through trusted addresses to the first untrusted one. A hop that is not an address
 * (`unknown`, `_hidden`, a typo) ends the search, and the last valid address is used.
 *
 * `auto` uses a header only if no other header contradicts it. Proxies set some of the three headers and forward the
 * others as the client sent them (nginx usually sets only X-Real-IP; Apache, Caddy and HAProxy set only X-Forwarded-For).
 * If two headers disagree, one is forged, and the request does not show which. Then the address of the proxy is used: a
 * client can hide behind it, but cannot impersonate another client. X-Real-IP may also contain a trusted proxy on the path
 * of the other header. `--client-address-header` selects one header; the others are then not read.
 *
 * @param remote the canonical address of the socket's peer; undefined for a unix socket
 */
export function resolveClientAddress(headers: Headers, remote: string | undefined, rules: AddressRules): ClientAddress {
  const { trusted, header = "auto" } = rules;
  if (remote !== undefined && !trusted.has(remote)) {
    const ignored = SOURCES.find(([source]) => headers.get(source) !== null)?.[1];
    return { address: remote, trustedProxy: false, ...(ignored === undefined ? {} : { ignored }) };
  }

  const candidates = SOURCES
    .filter(([source]) => header === "auto" ? headers.get(source) !== null : header === source)
    .map(([source, name]) => ({ source, name, ...followHops(parseHops(headers, source), remote, trusted) }));
  // A list is preferred to X-Real-IP, which contains only its first or last hop.
  const best = candidates.find(({ source }) => source !== "x-real-ip") ?? candidates[0];
  const agree = candidates.every(({ source, address, passed }) =>
    address === best?.address || (source === "x-real-ip" && passed.length === 1 && best!.passed.includes(passed[0]!))
  );
  if (!agree) {
    const reported = candidates.map(({ name, address }) => `${name} contains ${address ?? "no address"}`).join(", ");
    const conflict = `${reported}: the client may have forged one of them, so all are ignored; ` +
      "select the header that the proxy sets with --client-address-header";
    return { address: remote, trustedProxy: true, conflict };
  }
  return { address: best === undefined ? remote : best.address, trustedProxy: true };
}

/** Follows hops from the last to the first while they are trusted. `passed` contains the addresses, with the client's. */
function followHops(
  hops: Hops,
  remote: string | undefined,
  trusted: AddressSet,
): { address?: string; passed: string[] } {
  const passed: string[] = [];
  for (let index = hops.length - 1; index >= 0; index--) {
    const hop = hops[index]!();
    if (hop === undefined) break;
    passed.push(hop);
    if (!trusted.has(hop)) break;
  }
  return { address: passed.at(-1) ?? remote, passed };
}

/** The hops in a header, the client's first. Each is a function, so that only hops on the path are parsed. */
function parseHops(headers: Headers, source: Source): Hops {
  const text = headers.get(source);
  if (text === null) return [];
  if (source === "x-real-ip") return [() => parseHop(text)];
  if (source === "x-forwarded-for") return text.split(",").map((hop) => () => parseHop(hop.trim()));
  return (parseForwarded(text) ?? []).map((element) => () => parseNode(element.get("for")));
}

/** X-Forwarded-For has no standard: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`. */
function parseHop(text: string): string | undefined {
  return canonicalAddress(text) ?? parseNode(text);
}

/** RFC 7239, section 6: an IPv4 address or an IPv6 address in brackets, with a port or an obfuscated port (`_secret`). */
function parseNode(text: string | undefined): string | undefined {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::(?:(\d{1,5})|_[A-Za-z0-9._-]+))?$/.exec(text ?? "");
  if (!match || Number(match[3] ?? 0) > 65_535) return undefined;
  if (match[1] !== undefined && !match[1].includes(":")) return undefined;
  return canonicalAddress(match[1] ?? match[2]!);
}

/** The requirements on the client's TLS. */
export interface TlsRules {
  readonly minTls: "1.2" | "1.3";
  /** Whether to refuse the request if the proxy does not prove TLS, and with `minTls` 1.3 its version. */
  readonly strict: boolean;
}

/**
 * Checks the client's TLS as reported by the proxy: `X-Forwarded-Proto` and `Forwarded` report whether TLS is used,
 * `X-SSL-Protocol` its version. Every hop in a header must satisfy the rules.
 * @param trustedProxy from `resolveClientAddress`; the headers of other peers prove nothing
 * @returns the reason for a 426, or undefined if the request is allowed
 */
export function checkProxyTls(headers: Headers, trustedProxy: boolean, rules: TlsRules): string | undefined {
  if (!trustedProxy) {
    return rules.strict ? "strict-proxy: this connection does not come from a trusted proxy" : undefined;
  }
  const protos = parseTokens(headers, "x-forwarded-proto");
  const versions = parseTokens(headers, "x-ssl-protocol");
  const plain = protos.find(isPlain);
  if (plain !== undefined) return explainMissingTls(`X-Forwarded-Proto: ${plain}`);
  const forwarded = readForwarded(headers).map((element) => element.get("proto")?.toLowerCase() ?? "").find(isPlain);
  if (forwarded !== undefined) return explainMissingTls(`Forwarded: proto=${forwarded}`);

  for (const version of versions) {
    const number = /^tls ?v?(\d+(?:\.\d+)?)$/.exec(version)?.[1];
    if (number === undefined || Number(number) < Number(rules.minTls)) {
      const shown = version.replace(/[^a-z0-9.()_-]/g, "?").slice(0, 20);
      return `TLS ${rules.minTls} or later is required, but the proxy reports X-SSL-Protocol: ${shown}`;
    }
  }
  if (rules.strict && rules.minTls === "1.3" && versions.length === 0) {
    return "strict-proxy: --min-tls 1.3 requires that the proxy reports the TLS version (X-SSL-Protocol: TLSv1.3)";
  }
  if (rules.strict && !provesTls(headers)) {
    return "strict-proxy: the proxy does not prove TLS (X-Forwarded-Proto: https, or X-SSL-Protocol: TLSv1.3)";
  }
  return undefined;
}

/** The reason for a client without TLS, and for a client whose TLS is terminated by an outer proxy. */
function explainMissingTls(header: string): string {
  return `the proxy reports that the client connected without TLS (${header}). Connect to the proxy with wss://. If an ` +
    "outer proxy terminates TLS, let the inner proxy forward the outer proxy's header " +
    "(nginx: proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto)";
}

/** Whether the proxy reports that the client uses TLS. Call it only for a trusted proxy, and after `checkProxyTls`. */
export function provesTls(headers: Headers): boolean {
  const protos = parseTokens(headers, "x-forwarded-proto");
  return parseTokens(headers, "x-ssl-protocol").length > 0 ||
    (protos.length > 0 && protos.every((proto) => proto === "https" || proto === "wss"));
}

/** Whether a request has a header that proxies add. No page in a browser can set one of them. */
export function hasForwardingHeader(headers: Headers): boolean {
  return FORWARDING_HEADERS.some((name) => headers.get(name) !== null);
}

const FORWARDING_HEADERS = [
  ...["x-real-ip", "x-forwarded-for", "forwarded", "x-forwarded-proto", "x-forwarded-host", "x-ssl-protocol"],
  ...["x-forwarded-port", "x-forwarded-server", "via"],
];

function isPlain(proto: string): boolean {
  return proto === "http" || proto === "ws";
}

/** Parses a header's list into lower case. An empty or missing header is an empty list. */
function parseTokens(headers: Headers, name: string): string[] {
  return (headers.get(name) ?? "").split(",").map((token) => token.trim().toLowerCase()).filter((token) =>
    token !== ""
  );
}

function readForwarded(headers: Headers): readonly ForwardedElement[] {
  const text = headers.get("forwarded");
  return text === null ? [] : parseForwarded(text) ?? [];
}

/**
 * Reads the host that the client requested from `X-Forwarded-Host`, or from `host` in `Forwarded`: in lower case, with the
 * port if the client sent one. With several proxies the first one's value is used. Call it only for a trusted proxy, and
 * use the host only for comparisons: if the proxy sets neither header, a client that is not a browser can send any value.
 * @returns undefined if there is no valid host
 */
export function readForwardedHost(headers: Headers): string | undefined {
  const host = parseTokens(headers, "x-forwarded-host")[0] ?? readForwarded(headers)[0]?.get("host")?.toLowerCase();
  return host !== undefined && /^(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.test(host) ? host : undefined;
}
