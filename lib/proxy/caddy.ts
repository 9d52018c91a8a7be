/**
 * Generates configurations for Caddy 2.5 or newer.
 * @module
 */
import { formatDuration } from "../duration_and_size.ts";
import type { Generator, Site, Upstream } from "./site_description.ts";
import {
  checkSeparateChain,
  CLIENT_HEADERS_COMMENT,
  comment,
  findUnquotablePaths,
  formatHostPort,
  headerComment,
  indent,
  joinLines,
  MOZILLA_INTERMEDIATE,
  pathsExpression,
  publicOrigin,
  sectionName,
  splitPaths,
} from "./config_formatting.ts";

function address(upstream: Upstream): string {
  return upstream.transport === "unix" ? `unix/${upstream.path}` : formatHostPort(upstream);
}

function forwarding(): string[] {
  return [
    CLIENT_HEADERS_COMMENT,
    `header_up X-Real-IP {remote_host}`,
    `header_up X-Forwarded-For {remote_host}`,
    `header_up X-Forwarded-Proto {scheme}`,
    `header_up X-Forwarded-Host {hostport}`,
    `header_up X-SSL-Protocol {tls_version}`,
    `header_up -Forwarded`,
  ];
}

function service(site: Site): string[] {
  const name = sectionName(site);
  const group = site.upstreams.length > 1;
  return [
    comment("The paths of the service. The whole path must match. Caddy sets Upgrade and Connection for each request."),
    splitPaths(site).expressions.length === 0
      ? `@${name} path ${site.paths.join(" ")}`
      : `@${name} path_regexp ${pathsExpression(site)}`,
    `handle @${name} {`,
    ...indent([
      comment("A handshake has no body. --max-payload of the service limits messages."),
      `request_body {`,
      `    max_size 1KB`,
      `}`,
      `reverse_proxy ${site.upstreams.map(address).join(" ")} {`,
      ...indent([
        ...(group
          ? [
            comment(
              "A new connection goes to the service with the fewest connections, and not to one that is stopping.",
            ),
            `lb_policy least_conn`,
            `lb_try_duration 2s`,
            `health_uri /healthz`,
            `health_interval 2s`,
          ]
          : []),
        ...forwarding(),
        "",
        comment("Bytes are forwarded immediately. Caddy has no timeout for an open WebSocket."),
        comment(pingComment(site)),
        `flush_interval -1`,
        `transport http {`,
        ...indent([
          `versions 1.1`,
          `dial_timeout 5s`,
          `response_header_timeout ${site.idleTimeout}s`,
          `keepalive ${site.keepAlive}s`,
        ]),
        `}`,
      ]),
      `}`,
    ]),
    `}`,
  ];
}

/** Explains how dead connections end. */
function pingComment({ pingInterval }: Site): string {
  return pingInterval === 0
    ? "The service sends no pings (idle-timeout 0), so a dead connection may stay open."
    : `The service pings an idle connection every ${formatDuration(pingInterval)} and closes dead ones.`;
}

function website(site: Site): string[] {
  const { website } = site;
  const body = website === undefined
    ? [`respond 404`]
    : "root" in website
    ? [`root * "${website.root}"`, `file_server`]
    : [`reverse_proxy ${address(website.server)} {`, ...indent(forwarding()), `}`];
  return [
    comment(website === undefined ? "Other paths do not exist." : "The website."),
    `handle {`,
    ...indent(body),
    `}`,
  ];
}

function tls(site: Site): string[] {
  const { certificate } = site;
  return [
    comment("TLS as in Mozilla's intermediate profile. Returning clients resume their session."),
    ...(certificate
      ? []
      : [comment("No --cert: Caddy obtains and renews the certificate, which requires ports 80 and 443.")]),
    `tls ${certificate ? `"${certificate.cert}" "${certificate.key}" ` : ""}{`,
    `    protocols tls${site.minTls} tls1.3`,
    `    ciphers ${MOZILLA_INTERMEDIATE.map(([, iana]) => iana).join(" ")}`,
    `}`,
  ];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is redirected to https."),
    `http://${site.domain}:${site.redirectPort} {`,
    `    redir ${publicOrigin(site)}{uri} 301`,
    `}`,
    "",
  ];
}

function render(site: Site): string {
  if (site.scope === "location") {
    const instructions = ["Put it into your site's block. Then: caddy validate && caddy reload"];
    return joinLines([...headerComment(site, "Caddy", instructions), "", ...service(site)]);
  }
  return joinLines([
    ...headerComment(site, "Caddy", [
      "This is a whole Caddyfile. To add it to an existing one, merge the first block into the global options.",
      "Then: caddy validate && caddy reload. A reload closes open WebSockets; clients reconnect.",
    ]),
    "",
    `{`,
    ...indent([
      comment(site.redirectPort === undefined ? "Plain HTTP is not redirected." : "The redirect is below."),
      `auto_https disable_redirects`,
      `servers {`,
      ...indent([
        comment("Request head: the timeout is the service's, the size limit is below the service's (64 KiB)."),
        `max_header_size 32KB`,
        `timeouts {`,
        `    read_header ${site.headTimeout}s`,
        `}`,
      ]),
      `}`,
    ]),
    `}`,
    "",
    ...redirect(site),
    `${publicOrigin(site)} {`,
    ...indent([...tls(site), "", ...service(site), "", ...website(site)]),
    `}`,
  ]);
}

function checkKey(site: Site): string[] {
  const { certificate } = site;
  return certificate !== undefined && certificate.key === undefined
    ? ["--key is missing: a certificate requires its private key"]
    : [];
}

export const caddy = {
  name: "caddy",
  title: "Caddy",
  required: [],
  problems: (site) => [
    ...checkKey(site),
    ...checkSeparateChain(site, "Caddy"),
    ...findUnquotablePaths(site, "Caddy", ['"', "\\", "{", "}", "`"]),
  ],
  render,
} as const satisfies Generator;
