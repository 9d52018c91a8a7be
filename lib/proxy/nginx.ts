/**
 * Generates configurations for nginx 1.15.3 or newer.
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

/** Separates the two parts for an existing server: outside of the server blocks, and inside one. */
export const NGINX_SEPARATOR = "---- inside the server block ----";

/** Quotes a path. `problems` refuses `$`, because variables cannot be escaped. */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
}

function serverLine(upstream: Upstream): string {
  return upstream.transport === "unix" ? `server unix:${upstream.path};` : `server ${formatHostPort(upstream)};`;
}

function upstreamBlocks(site: Site): string[] {
  const name = sectionName(site);
  const group = site.upstreams.length > 1;
  return [
    comment(
      "Upgrade and Connection are hop-by-hop headers, so they are set for each request: forwarded for a WebSocket",
    ),
    comment("handshake, empty for other requests, which reuse upstream connections."),
    `map $http_upgrade $${name}_upgrade {`,
    `    default         "";`,
    `    "~*^websocket$" websocket;`,
    `}`,
    `map $http_upgrade $${name}_connection {`,
    `    default         "";`,
    `    "~*^websocket$" upgrade;`,
    `}`,
    "",
    comment(group ? "The services. A new connection goes to the one with the fewest connections." : "The service."),
    `upstream ${name} {`,
    ...(group ? [`    zone ${name} 64k;`, `    least_conn;`] : []),
    ...site.upstreams.map((upstream) => `    ${serverLine(upstream)}`),
    `    keepalive 16;`,
    `    keepalive_timeout ${site.keepAlive}s;`,
    `}`,
  ];
}

function forwarding(): string[] {
  return [
    CLIENT_HEADERS_COMMENT,
    `proxy_set_header Host $http_host;`,
    `proxy_set_header X-Real-IP $remote_addr;`,
    `proxy_set_header X-Forwarded-For $remote_addr;`,
    `proxy_set_header X-Forwarded-Proto $scheme;`,
    `proxy_set_header X-Forwarded-Host $http_host;`,
    `proxy_set_header X-SSL-Protocol $ssl_protocol;`,
    `proxy_set_header Forwarded "";`,
  ];
}

/** @param match the modifier and the path or expression of the location */
function location(site: Site, match: string): string[] {
  const name = sectionName(site);
  return [
    `location ${match} {`,
    ...indent([
      `proxy_pass http://${name};`,
      "",
      comment("WebSocket requires HTTP/1.1 to the service."),
      `proxy_http_version 1.1;`,
      `proxy_set_header Upgrade $${name}_upgrade;`,
      `proxy_set_header Connection $${name}_connection;`,
      "",
      ...forwarding(),
      "",
      comment(timeoutComment(site)),
      `proxy_connect_timeout 5s;`,
      `proxy_read_timeout ${site.idleTimeout}s;`,
      `proxy_send_timeout ${site.idleTimeout}s;`,
      "",
      comment(
        "A handshake has no body, so none is forwarded. Content-Length is removed: Java's client and others send",
      ),
      comment("Content-Length: 0, which Deno answers with 400. --max-payload of the service limits messages."),
      `proxy_set_header Content-Length "";`,
      `proxy_pass_request_body off;`,
      `client_max_body_size 1k;`,
      comment("Bytes are forwarded immediately."),
      `proxy_buffering off;`,
    ]),
    `}`,
  ];
}

function website(site: Site): string[] {
  if (site.website === undefined) {
    return [comment("No website (--root, --website)."), `location / {`, `    return 404;`, `}`];
  }
  if ("root" in site.website) {
    return [
      comment("The website."),
      `root ${quote(site.website.root)};`,
      `index index.html;`,
      `location / {`,
      `    try_files $uri $uri/ =404;`,
      `}`,
    ];
  }
  return [
    comment("The website, served by another server."),
    `location / {`,
    ...indent([
      `proxy_pass http://${sectionName(site)}_website;`,
      `proxy_http_version 1.1;`,
      `proxy_set_header Connection "";`,
      ...forwarding(),
    ]),
    `}`,
  ];
}

function listen(port: number, ssl: boolean): string[] {
  return [`listen ${port}${ssl ? " ssl" : ""};`, `listen [::]:${port}${ssl ? " ssl" : ""};`];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is redirected to https."),
    `server {`,
    ...indent([
      ...listen(site.redirectPort, false),
      `server_name ${site.domain};`,
      `return 301 ${publicOrigin(site)}$request_uri;`,
    ]),
    `}`,
    "",
  ];
}

function tls(site: Site): string[] {
  return [
    comment("TLS as in Mozilla's intermediate profile. The first server of a port sets the protocols of the port."),
    `ssl_certificate ${quote(site.certificate!.cert)};`,
    `ssl_certificate_key ${quote(site.certificate!.key!)};`,
    `ssl_protocols ${site.minTls === "1.3" ? "TLSv1.3" : "TLSv1.2 TLSv1.3"};`,
    `ssl_ciphers ${OPENSSL_SUITES};`,
    `ssl_prefer_server_ciphers off;`,
    comment("Returning clients resume their session."),
    `ssl_session_cache shared:wss:10m;`,
    `ssl_session_timeout 1d;`,
    `ssl_session_tickets off;`,
    "",
    comment("Request head: the timeout is the service's, the size limit is below the service's (64 KiB)."),
    `client_header_timeout ${site.headTimeout}s;`,
    `large_client_header_buffers 4 8k;`,
  ];
}

function render(site: Site): string {
  const { literals, expressions } = splitPaths(site);
  const locations = [
    ...literals.map((path) => `= ${path}`),
    ...expressions.map((expression) => `~ "${expression}"`),
  ].flatMap((match) => [...location(site, match), ""]);
  if (site.scope === "location") {
    return joinLines([
      ...headerComment(site, "nginx", [
        "The first part goes into http, outside of the server blocks (for example a file in conf.d). The second part",
        "goes into the server block with your certificate.",
      ]),
      "",
      ...upstreamBlocks(site),
      "",
      comment(NGINX_SEPARATOR),
      "",
      comment("The paths of the service. The whole path must match."),
      ...locations.slice(0, -1),
    ]);
  }
  const otherServer = site.website && "server" in site.website ? site.website.server : undefined;
  return joinLines([
    ...headerComment(site, "nginx", [
      "Put it into http, as a file in conf.d or sites-enabled. Then: nginx -t && nginx -s reload",
      "Old workers keep their connections after a reload; worker_shutdown_timeout (main context) limits that.",
      "Each connection uses two of worker_connections (events) and two file descriptors.",
      "On a machine without IPv6, remove the lines with [::].",
    ]),
    "",
    ...upstreamBlocks(site),
    "",
    ...(otherServer
      ? [`upstream ${sectionName(site)}_website {`, `    ${serverLine(otherServer)}`, `    keepalive 16;`, `}`, ""]
      : []),
    ...redirect(site),
    `server {`,
    ...indent([
      ...listen(site.listenPort, true),
      `server_name ${site.domain};`,
      "",
      ...tls(site),
      "",
      comment("The paths of the service. The whole path must match."),
      ...locations,
      ...(site.paths.includes("/")
        ? [comment("Other paths do not exist."), `location / {`, `    return 404;`, `}`]
        : website(site)),
    ]),
    `}`,
  ]);
}

export const nginx = {
  name: "nginx",
  title: "nginx",
  required: ["cert", "key"],
  problems: (site) => [...checkSeparateChain(site, "nginx"), ...findUnquotablePaths(site, "nginx", ["$"])],
  render,
} as const satisfies Generator;
