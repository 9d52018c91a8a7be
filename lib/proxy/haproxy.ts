/**
 * Generates configurations for HAProxy 2.2 or newer.
 * @module
 */
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
  OPENSSL_SUITES,
  publicOrigin,
  sectionName,
  splitPaths,
  timeoutComment,
} from "./config_formatting.ts";

/** Separates the two parts for an existing server: lines for the frontend, and the backend section. */
export const HAPROXY_SEPARATOR = "---- the backend section ----";

/** The longest timeout of HAProxy, in seconds: 2^31 - 1 ms. It is longer than every interval of pings. */
const MAX_TIMEOUT = 2_147_483;

function idleTimeout(site: Site): string {
  return `${Math.min(site.idleTimeout, MAX_TIMEOUT)}s`;
}

function serverLine(upstream: Upstream, number: number): string {
  const address = upstream.transport === "unix" ? `unix@${upstream.path}` : formatHostPort(upstream);
  return `server s${number} ${address}`;
}

function forwarding(): string[] {
  return [
    CLIENT_HEADERS_COMMENT,
    `http-request set-header X-Real-IP %[src]`,
    `http-request set-header X-Forwarded-For %[src]`,
    `http-request set-header X-Forwarded-Proto https if { ssl_fc }`,
    `http-request set-header X-Forwarded-Proto http if !{ ssl_fc }`,
    `http-request set-header X-Forwarded-Host %[req.hdr(host)]`,
    `http-request del-header X-SSL-Protocol`,
    `http-request set-header X-SSL-Protocol %[ssl_fc_protocol] if { ssl_fc }`,
    `http-request del-header Forwarded`,
  ];
}

/** Returns the conditions of a request to the service. One of them must be true. */
function pathConditions(site: Site): string[] {
  const { literals, expressions } = splitPaths(site);
  return [
    ...(literals.length > 0 ? [`{ path -m str ${literals.join(" ")} }`] : []),
    ...(expressions.length > 0 ? [`{ path -m reg ${expressions.join(" ")} }`] : []),
  ];
}

function useBackend(site: Site): string[] {
  return [
    comment(
      "The paths of the service. The whole path must match. HAProxy sets Upgrade and Connection for each request.",
    ),
    `use_backend ${sectionName(site)} if ${pathConditions(site).join(" || ")}`,
  ];
}

function backend(site: Site): string[] {
  const group = site.upstreams.length > 1;
  return [
    comment(group ? "The services. A new connection goes to the one with the fewest connections." : "The service."),
    `backend ${sectionName(site)}`,
    ...indent([
      `mode http`,
      // In an existing frontend they would change the requests of other backends, too.
      ...(site.scope === "location" ? [...forwarding(), ""] : []),
      ...(group
        ? [
          `balance leastconn`,
          comment("A service that is stopping fails /healthz and gets no new connections."),
          `option httpchk`,
          `http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host ${site.domain ?? "localhost"}`,
        ]
        : []),
      comment("A handshake has no body. --max-payload of the service limits messages."),
      `http-request deny deny_status 413 if { req.body_size gt 1024 }`,
      comment("A client may offer other protocols in Upgrade. Only websocket is forwarded."),
      `http-request set-header Upgrade websocket if { req.hdr(Upgrade) -m str -i websocket }`,
      comment("Java's client and others send Content-Length: 0, which Deno answers with 400."),
      `http-request del-header Content-Length if { req.hdr(Content-Length) -m str 0 }`,
      comment(timeoutComment(site)),
      `timeout connect 5s`,
      `timeout server ${idleTimeout(site)}`,
      `timeout tunnel ${idleTimeout(site)}`,
      comment("Ordinary requests reuse connections. The service closes idle ones."),
      `http-reuse safe`,
      `default-server pool-purge-delay ${site.keepAlive}s${group ? " check" : ""}`,
      ...(site.upstreams.some(({ transport }) => transport === "unix")
        ? [comment("With chroot in the global section, the socket's path is relative to that directory.")]
        : []),
      ...site.upstreams.map((upstream, at) => serverLine(upstream, at + 1)),
    ]),
  ];
}

function website(site: Site): string[] {
  const other = site.website && "server" in site.website ? site.website.server : undefined;
  if (other === undefined) return [];
  return [
    "",
    comment("The website."),
    `backend ${sectionName(site)}_website`,
    ...indent([`mode http`, `timeout connect 5s`, `timeout server 60s`, serverLine(other, 1)]),
  ];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is redirected to https."),
    `frontend ${sectionName(site)}_redirect`,
    ...indent([
      `mode http`,
      `bind :::${site.redirectPort} v4v6`,
      `timeout client ${site.headTimeout}s`,
      `timeout http-request ${site.headTimeout}s`,
      `http-request redirect prefix ${publicOrigin(site)} code 301`,
    ]),
    "",
  ];
}

function frontend(site: Site): string[] {
  const bind = [
    `bind :::${site.listenPort} v4v6 ssl crt '${site.certificate!.cert}' alpn http/1.1`,
    `ssl-min-ver TLSv${site.minTls} ciphers ${OPENSSL_SUITES} no-tls-tickets`,
  ];
  return [
    `frontend ${sectionName(site)}_tls`,
    ...indent([
      `mode http`,
      comment(
        "TLS as in Mozilla's intermediate profile. The file contains certificate, intermediates and key. Returning",
      ),
      comment(
        "clients resume their session from HAProxy's cache (global: tune.ssl.cachesize, tune.ssl.lifetime).",
      ),
      bind.join(" "),
      "",
      comment(
        "Request head: the timeout is the service's. The size limit is HAProxy's buffer, 16 KiB.",
      ),
      `timeout http-request ${site.headTimeout}s`,
      `timeout client ${idleTimeout(site)}`,
      comment("Timeout of a client that does not confirm the end of the connection."),
      `timeout client-fin ${site.headTimeout}s`,
      "",
      ...forwarding(),
      "",
      ...(site.website === undefined
        ? [
          comment("There is nothing at other paths."),
          `http-request return status 404 if ${pathConditions(site).map((condition) => `!${condition}`).join(" ")}`,
          "",
          ...useBackend(site),
        ]
        : [...useBackend(site), `default_backend ${sectionName(site)}_website`]),
    ]),
    "",
  ];
}

function render(site: Site): string {
  if (site.scope === "location") {
    return joinLines([
      ...headerComment(site, "HAProxy", [
        "The first part goes into the frontend with your certificate (mode http), which needs a timeout client. The",
        "second part is a separate section. Then: haproxy -c -f haproxy.cfg, and reload HAProxy.",
      ]),
      "",
      ...useBackend(site),
      "",
      comment(HAPROXY_SEPARATOR),
      "",
      ...backend(site),
    ]);
  }
  return joinLines([
    ...headerComment(site, "HAProxy", [
      "Put it after the global section of haproxy.cfg. Then: haproxy -c -f haproxy.cfg, and reload HAProxy.",
      "Old processes keep their connections after a reload; hard-stop-after (global) limits that.",
    ]),
    "",
    ...redirect(site),
    ...frontend(site),
    ...backend(site),
    ...website(site),
  ]);
}

/** Reports a key that HAProxy cannot find: it must be in the certificate's file, or in a file with that name and .key. */
function checkKeyFile(site: Site): string[] {
  const { cert, key, chain } = site.certificate ?? {};
  const isFound = key === undefined || key === cert || key === `${cert}.key`;
  if (isFound && chain === undefined) return [];
  if (isFound) return checkSeparateChain(site, "HAProxy");
  return [
    `--key${
      chain === undefined ? "" : ", --chain"
    }: HAProxy reads certificate, intermediates and key from one file: run ` +
    `cat ${
      [cert, chain, key].filter((file) => file !== undefined).join(" ")
    } > haproxy.pem (readable by HAProxy only), ` +
    `and give only --cert haproxy.pem`,
  ];
}

export const haproxy = {
  name: "haproxy",
  title: "HAProxy",
  required: ["cert"],
  problems: (site) => [
    ...checkKeyFile(site),
    ...(site.website && "root" in site.website
      ? ["--root: HAProxy cannot serve files: run a web server and give --website"]
      : []),
    ...findUnquotablePaths(site, "HAProxy", ["'"]),
  ],
  render,
} as const satisfies Generator;
