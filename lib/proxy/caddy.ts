/**
 * Caddy 2.5 or newer.
 * @module
 */
import type { Generator, Site, Upstream } from "./site_description.ts";
import {
  chainProblem,
  comment,
  fileOf,
  heading,
  hostPort,
  indent,
  INTERMEDIATE,
  nameOf,
  pathsExpression,
  pathsOf,
  publicOrigin,
  timeoutReason,
  unquotable,
} from "./config_text.ts";

function address(upstream: Upstream): string {
  return upstream.transport === "unix" ? `unix/${upstream.path}` : hostPort(upstream);
}

function forwarding(): string[] {
  return [
    comment("Who the client is and how it came. Set, not appended: what a client sent under these names is gone."),
    `header_up X-Real-IP {remote_host}`,
    `header_up X-Forwarded-For {remote_host}`,
    `header_up X-Forwarded-Proto {scheme}`,
    `header_up X-Forwarded-Host {hostport}`,
    `header_up X-SSL-Protocol {tls_version}`,
    `header_up -Forwarded`,
  ];
}

function service(site: Site): string[] {
  const name = nameOf(site);
  const group = site.upstreams.length > 1;
  return [
    comment("The service's path; each is matched whole. Caddy handles Upgrade and Connection request by request."),
    pathsOf(site).expressions.length === 0
      ? `@${name} path ${site.paths.join(" ")}`
      : `@${name} path_regexp ${pathsExpression(site)}`,
    `handle @${name} {`,
    ...indent([
      comment("A handshake has no body; messages are the service's to limit (--max-payload)."),
      `request_body {`,
      `    max_size 1KB`,
      `}`,
      `reverse_proxy ${site.upstreams.map(address).join(" ")} {`,
      ...indent([
        ...(group
          ? [
            comment(
              "Several of the service: a new connection goes where the fewest are, and not to one that is stopping.",
            ),
            `lb_policy least_conn`,
            `lb_try_duration 2s`,
            `health_uri /healthz`,
            `health_interval 2s`,
          ]
          : []),
        ...forwarding(),
        "",
        comment("Bytes go on as they come. Caddy sets an open WebSocket no time limit."),
        comment(timeoutReason(site).replace("; this is later than that", " and ends dead ones")),
        `flush_interval -1`,
        `transport http {`,
        ...indent([
          `versions 1.1`,
          `dial_timeout 5s`,
          `response_header_timeout ${site.quietTimeout}s`,
          `keepalive ${site.keepAlive}s`,
        ]),
        `}`,
      ]),
      `}`,
    ]),
    `}`,
  ];
}

function website(site: Site): string[] {
  const { website } = site;
  const body = website === undefined
    ? [`respond 404`]
    : "root" in website
    ? [`root * "${website.root}"`, `file_server`]
    : [`reverse_proxy ${address(website.server)} {`, ...indent(forwarding()), `}`];
  return [
    comment(website === undefined ? "Nothing else is here." : "The website."),
    `handle {`,
    ...indent(body),
    `}`,
  ];
}

function tls(site: Site): string[] {
  const { certificate } = site;
  return [
    comment("TLS by Mozilla's intermediate recommendation; Caddy resumes sessions of clients that come back."),
    ...(certificate
      ? []
      : [comment("No --cert: Caddy gets the certificate and renews it, which needs ports 80 and 443.")]),
    `tls ${certificate ? `"${certificate.cert}" "${certificate.key}" ` : ""}{`,
    `    protocols tls${site.minTls} tls1.3`,
    `    ciphers ${INTERMEDIATE.map(([, iana]) => iana).join(" ")}`,
    `}`,
  ];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is sent to https."),
    `http://${site.domain}:${site.redirectPort} {`,
    `    redir ${publicOrigin(site)}{uri} 301`,
    `}`,
    "",
  ];
}

function render(site: Site): string {
  if (site.scope === "location") {
    const howTo = ["Put it into your site's block; then: caddy validate && caddy reload"];
    return fileOf([...heading(site, "Caddy", howTo), "", ...service(site)]);
  }
  return fileOf([
    ...heading(site, "Caddy", [
      "A whole Caddyfile; in one that you have, merge the first block, which stands once at its top, with yours.",
      "Then: caddy validate && caddy reload. Caddy closes open WebSockets when it reloads; clients reconnect.",
    ]),
    "",
    `{`,
    ...indent([
      comment("The redirect stands below."),
      `auto_https disable_redirects`,
      `servers {`,
      ...indent([
        comment("A request's head: as long as the service waits for one, and shorter than it takes (64 KiB)."),
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

function pairProblem(site: Site): string[] {
  const { certificate } = site;
  return certificate !== undefined && certificate.key === undefined
    ? ["--key is missing: a certificate serves only with its private key"]
    : [];
}

export const caddy = {
  name: "caddy",
  title: "Caddy",
  needs: [],
  problems: (site) => [
    ...pairProblem(site),
    ...chainProblem(site, "Caddy"),
    ...unquotable(site, "Caddy", ['"', "\\", "{", "}", "`"]),
  ],
  render,
} as const satisfies Generator;
