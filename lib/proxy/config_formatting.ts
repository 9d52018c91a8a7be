/**
 * Text that the generated configurations share: comments, names, paths and Mozilla's TLS recommendation.
 * @module
 */
import { isIPv6 } from "node:net";
import { parsePath, pathExpression } from "../config/path_pattern.ts";
import { formatDuration } from "../duration_and_size.ts";
import type { Site, Upstream } from "./site_description.ts";

/**
 * The TLS 1.2 suites of Mozilla's intermediate profile (guideline 6.0) without DHE, by OpenSSL's and IANA's names. The
 * TLS 1.3 suites and the groups of the profile are the libraries' defaults. OpenSSL before 3.5 refuses a file with
 * X25519MLKEM768.
 */
export const MOZILLA_INTERMEDIATE: readonly (readonly [openssl: string, iana: string])[] = [
  ["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
  ["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
  ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
  ["ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
  ["ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
];

/** The suites in OpenSSL's syntax. */
export const OPENSSL_SUITES: string = MOZILLA_INTERMEDIATE.map(([openssl]) => openssl).join(":");

/** Formats `HOST:PORT`, with an IPv6 address in brackets. */
export function formatHostPort({ host, port }: { host: string; port: number }): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Whether the service runs on the proxy's own machine. */
export function isLocalUpstream(upstream: Upstream): boolean {
  return upstream.transport === "unix" || /^(?:127\.|localhost$|::1$)/.test(upstream.host);
}

/** Returns the origin of a site, `https://example.com:8443`; the port only if it is not 443. */
export function publicOrigin(site: Site): string {
  return `https://${site.domain}${site.listenPort === 443 ? "" : `:${site.listenPort}`}`;
}

/** Splits the paths of a site into exact paths, and patterns as anchored regular expressions. */
export function splitPaths({ paths }: Site): { literals: string[]; expressions: string[] } {
  const patterns = paths.filter((path) => parsePath(path).literal === undefined);
  return {
    literals: paths.filter((path) => !patterns.includes(path)),
    expressions: patterns.map((path) => `^${pathExpression(path)}$`),
  };
}

/** Returns all paths of a site as one anchored regular expression. */
export function pathsExpression({ paths }: Site): string {
  const expressions = paths.map(pathExpression);
  return expressions.length === 1 ? `^${expressions[0]}$` : `^(?:${expressions.join("|")})$`;
}

/** Returns a name for sections and variables: `wss_example_com`. */
export function sectionName(site: Site): string {
  return site.domain === undefined ? "wss" : `wss_${site.domain.replaceAll(/[^a-z0-9]/g, "_")}`;
}

/** Returns the first comment of a file: its purpose, how to load it, and the flags of the matching service. */
export function headerComment(site: Site, title: string, instructions: readonly string[]): string[] {
  const purpose = site.scope === "site"
    ? `wss service behind ${title}: wss${publicOrigin(site).slice(5)}${site.paths[0]}`
    : `wss service behind ${title}: a part for an existing server`;
  const hasRemoteUpstream = site.upstreams.some((upstream) => !isLocalUpstream(upstream));
  const hasSocket = site.upstreams.some(({ transport }) => transport === "unix");
  return [
    purpose,
    "",
    ...instructions,
    "",
    "It matches a service that is started with:",
    `  main.ts ${site.flags.join(" ")}`,
    ...(hasSocket
      ? ["The proxy's user needs write access to the socket: add it to the service's group (--unix-mode)."]
      : []),
    ...(hasRemoteUpstream
      ? ["A service on another machine also needs --trusted-proxy with the address of this machine."]
      : []),
  ].map(comment);
}

/** Formats a comment line. The syntax is the same in all four programs. */
export function comment(line: string): string {
  return line === "" ? "#" : `# ${line}`;
}

/** The comment above the headers that describe the client. */
export const CLIENT_HEADERS_COMMENT: string = comment(
  "The client's address and scheme. They replace headers that the client sent under these names.",
);

/** Explains the proxy's timeout. */
export function timeoutComment(site: Site): string {
  return site.pingInterval === 0
    ? `The service sends no pings (idle-timeout 0): the proxy closes a connection that is idle for ${site.idleTimeout}s.`
    : `The service pings an idle connection every ${formatDuration(site.pingInterval)}. This timeout is longer.`;
}

/** Indents lines by a number of spaces; empty lines stay empty. */
export function indent(lines: readonly string[], spaces = 4): string[] {
  return lines.map((line) => line === "" ? "" : " ".repeat(spaces) + line);
}

/** Joins the lines of a file. */
export function joinLines(lines: readonly string[]): string {
  return lines.join("\n") + "\n";
}

/** Reports a separate chain file, for proxies that send only the certificates of the certificate's file. */
export function checkSeparateChain(site: Site, title: string): string[] {
  const { cert, chain } = site.certificate ?? {};
  if (chain === undefined) return [];
  return [
    `--chain: ${title} sends only the intermediates in the certificate's file: run ` +
    `cat ${cert} ${chain} > fullchain.pem, and give --cert fullchain.pem without --chain`,
  ];
}

/** Returns the file paths of a site, each with its flag for messages. */
export function labelledPaths(site: Site): [label: string, path: string][] {
  const { cert, key, chain } = site.certificate ?? {};
  const root = site.website && "root" in site.website ? site.website.root : undefined;
  return ([["--cert", cert], ["--key", key], ["--chain", chain], ["--root", root]] as const)
    .flatMap(([label, path]) => path === undefined ? [] : [[label, path]]);
}

/** Reports file paths with characters that the syntax of a proxy cannot quote. */
export function findUnquotablePaths(site: Site, title: string, special: readonly string[]): string[] {
  return labelledPaths(site).filter(([, path]) => special.some((text) => path.includes(text))).map(([label, path]) =>
    `${label}: ${title} cannot quote ${path}: use a path without ${special.join(" ")}`
  );
}
