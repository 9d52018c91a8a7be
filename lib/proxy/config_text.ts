/**
 * Text that the generated configurations share: Mozilla's TLS recommendation, the opening comment, small helpers.
 * @module
 */
import { isIPv6 } from "node:net";
import { parsePath, pathExpression } from "../config/path_pattern.ts";
import { formatDuration } from "../duration_and_size.ts";
import type { Site, Upstream } from "./site_description.ts";

/**
 * TLS 1.2 suites of the intermediate profile of Mozilla's guideline 6.0, by OpenSSL's and IANA's names, without DHE.
 * The TLS 1.3 suites and the groups of the profile are the libraries' defaults, and OpenSSL before 3.5 would not load a
 * file that names X25519MLKEM768.
 */
export const INTERMEDIATE: readonly (readonly [openssl: string, iana: string])[] = [
  ["ECDHE-ECDSA-AES128-GCM-SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  ["ECDHE-RSA-AES128-GCM-SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"],
  ["ECDHE-ECDSA-AES256-GCM-SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
  ["ECDHE-RSA-AES256-GCM-SHA384", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
  ["ECDHE-ECDSA-CHACHA20-POLY1305", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
  ["ECDHE-RSA-CHACHA20-POLY1305", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"],
];

/** The suites in OpenSSL's syntax. */
export const OPENSSL_SUITES: string = INTERMEDIATE.map(([openssl]) => openssl).join(":");

/** `HOST:PORT`, IPv6 in brackets. */
export function hostPort({ host, port }: { host: string; port: number }): string {
  return `${isIPv6(host) ? `[${host}]` : host}:${port}`;
}

/** Whether the service runs on the proxy's own machine. */
export function isLocal(upstream: Upstream): boolean {
  return upstream.transport === "unix" || /^(?:127\.|localhost$|::1$)/.test(upstream.host);
}

/** `https://example.com:8443`, with the port only if it is not 443. */
export function publicOrigin(site: Site): string {
  return `https://${site.domain}${site.listenPort === 443 ? "" : `:${site.listenPort}`}`;
}

/** The paths of a site: exact paths, and patterns as anchored regular expressions. */
export function pathsOf({ paths }: Site): { literals: string[]; expressions: string[] } {
  const patterns = paths.filter((path) => parsePath(path).literal === undefined);
  return {
    literals: paths.filter((path) => !patterns.includes(path)),
    expressions: patterns.map((path) => `^${pathExpression(path)}$`),
  };
}

/** All paths of a site as one anchored regular expression. */
export function pathsExpression({ paths }: Site): string {
  const expressions = paths.map(pathExpression);
  return expressions.length === 1 ? `^${expressions[0]}$` : `^(?:${expressions.join("|")})$`;
}

/** A name for sections and variables: `wss_example_com`. */
export function nameOf(site: Site): string {
  return site.domain === undefined ? "wss" : `wss_${site.domain.replaceAll(/[^a-z0-9]/g, "_")}`;
}

/** The opening comment: what the file is, how to load it, and the flags of the service that it fits. */
export function heading(site: Site, title: string, howTo: readonly string[]): string[] {
  const what = site.scope === "site"
    ? `wss service behind ${title}: wss${publicOrigin(site).slice(5)}${site.paths[0]}`
    : `wss service behind ${title}: the part that goes into your server`;
  const far = site.upstreams.some((upstream) => !isLocal(upstream));
  const socket = site.upstreams.some(({ transport }) => transport === "unix");
  return [
    what,
    "",
    ...howTo,
    "",
    "It fits a service started with:",
    `  main.ts ${site.flags.join(" ")}`,
    ...(socket
      ? ["The proxy's user needs to write to the socket: make it a member of the service's group (--unix-mode)."]
      : []),
    ...(far ? ["What runs on another machine needs --trusted-proxy with the address of this one, too."] : []),
  ].map(comment);
}

/** A comment line; the syntax is the same in all four programs. */
export function comment(line: string): string {
  return line === "" ? "#" : `# ${line}`;
}

/** Why the proxy's timeout is what it is. */
export function timeoutReason(site: Site): string {
  return site.pingInterval === 0
    ? `The service sends no pings (idle-timeout 0): a connection that is quiet for ${site.quietTimeout}s is cut here.`
    : `The service pings a quiet connection every ${formatDuration(site.pingInterval)}; this is later than that.`;
}

/** Indents lines by a number of spaces; empty lines stay empty. */
export function indent(lines: readonly string[], spaces = 4): string[] {
  return lines.map((line) => line === "" ? "" : " ".repeat(spaces) + line);
}

/** Joins the lines of a file. */
export function fileOf(lines: readonly string[]): string {
  return lines.join("\n") + "\n";
}

/** The problem of a separate chain file, for proxies that send only the content of the certificate's file. */
export function chainProblem(site: Site, title: string): string[] {
  const { cert, chain } = site.certificate ?? {};
  if (chain === undefined) return [];
  return [
    `--chain: ${title} sends the intermediates that stand in the certificate's file: run ` +
    `cat ${cert} ${chain} > fullchain.pem, and give --cert fullchain.pem without --chain`,
  ];
}

/** The paths of a site, each with the label under which a message names it. */
export function filesOf(site: Site): [label: string, path: string][] {
  const { cert, key, chain } = site.certificate ?? {};
  const root = site.website && "root" in site.website ? site.website.root : undefined;
  return ([["--cert", cert], ["--key", key], ["--chain", chain], ["--root", root]] as const)
    .flatMap(([label, path]) => path === undefined ? [] : [[label, path]]);
}

/** Problems of file paths with characters that a syntax does not allow even in quotes. */
export function unquotable(site: Site, title: string, special: readonly string[]): string[] {
  return filesOf(site).filter(([, path]) => special.some((text) => path.includes(text))).map(([label, path]) =>
    `${label}: ${title} would read part of ${path} as its own syntax: use a path without ${special.join(" ")}`
  );
}
