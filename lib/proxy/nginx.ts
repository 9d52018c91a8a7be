/**
 * nginx, 1.15.3 or newer.
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
  nameOf,
  OPENSSL_SUITES,
  pathsOf,
  publicOrigin,
  timeoutReason,
  unquotable,
} from "./config_text.ts";

/** Separates the two parts of the text for an existing server: outside of the server blocks, and inside one. */
export const NGINX_PART = "---- inside the server block ----";

/** Quotes a path. Variables cannot be escaped: `problems` refuses `$`. */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
}

function server(upstream: Upstream): string {
  return upstream.transport === "unix" ? `server unix:${upstream.path};` : `server ${hostPort(upstream)};`;
}

function shared(site: Site): string[] {
  const name = nameOf(site);
  const group = site.upstreams.length > 1;
  return [
    comment("Upgrade and Connection concern one hop only, so they are set anew for each request: passed on for a"),
    comment("WebSocket handshake, empty for anything else, which then shares kept connections."),
    `map $http_upgrade $${name}_upgrade {`,
    `    default         "";`,
    `    "~*^websocket$" websocket;`,
    `}`,
    `map $http_upgrade $${name}_connection {`,
    `    default         "";`,
    `    "~*^websocket$" upgrade;`,
    `}`,
    "",
    comment(group ? "The service, several of it: a new connection goes where the fewest are." : "The service."),
    `upstream ${name} {`,
    ...(group ? [`    zone ${name} 64k;`, `    least_conn;`] : []),
    ...site.upstreams.map((upstream) => `    ${server(upstream)}`),
    `    keepalive 16;`,
    `    keepalive_timeout ${site.keepAlive}s;`,
    `}`,
  ];
}

function forwarding(): string[] {
  return [
    comment("Who the client is and how it came. Set, not appended: what a client sent under these names is gone."),
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
  const name = nameOf(site);
  return [
    `location ${match} {`,
    ...indent([
      `proxy_pass http://${name};`,
      "",
      comment("WebSocket needs HTTP/1.1 towards the service."),
      `proxy_http_version 1.1;`,
      `proxy_set_header Upgrade $${name}_upgrade;`,
      `proxy_set_header Connection $${name}_connection;`,
      "",
      ...forwarding(),
      "",
      comment(timeoutReason(site)),
      `proxy_connect_timeout 5s;`,
      `proxy_read_timeout ${site.quietTimeout}s;`,
      `proxy_send_timeout ${site.quietTimeout}s;`,
      "",
      comment("A handshake has no body, so none is passed on, nor the Content-Length: 0 that Java's client and others"),
      comment("send: Deno answers it with 400. The service limits messages (--max-payload)."),
      `proxy_set_header Content-Length "";`,
      `proxy_pass_request_body off;`,
      `client_max_body_size 1k;`,
      comment("Bytes go on as they come."),
      `proxy_buffering off;`,
    ]),
    `}`,
  ];
}

function website(site: Site): string[] {
  if (site.website === undefined) {
    return [comment("No website here (--root, --website)."), `location / {`, `    return 404;`, `}`];
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
      `proxy_pass http://${nameOf(site)}_website;`,
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
    comment("Plain HTTP is sent to https."),
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
    comment("TLS by Mozilla's intermediate recommendation. nginx takes the protocols of a port from its first server."),
    `ssl_certificate ${quote(site.certificate!.cert)};`,
    `ssl_certificate_key ${quote(site.certificate!.key!)};`,
    `ssl_protocols ${site.minTls === "1.3" ? "TLSv1.3" : "TLSv1.2 TLSv1.3"};`,
    `ssl_ciphers ${OPENSSL_SUITES};`,
    `ssl_prefer_server_ciphers off;`,
    comment("Clients that come back resume their session."),
    `ssl_session_cache shared:wss:10m;`,
    `ssl_session_timeout 1d;`,
    `ssl_session_tickets off;`,
    "",
    comment("A request's head: as long as the service waits for one, and shorter than it takes (64 KiB)."),
    `client_header_timeout ${site.headTimeout}s;`,
    `large_client_header_buffers 4 8k;`,
  ];
}

function render(site: Site): string {
  const { literals, expressions } = pathsOf(site);
  const locations = [
    ...literals.map((path) => `= ${path}`),
    ...expressions.map((expression) => `~ "${expression}"`),
  ].flatMap((match) => [...location(site, match), ""]);
  if (site.scope === "location") {
    return fileOf([
      ...heading(site, "nginx", [
        "The first part goes beside the server blocks (inside http, a file in conf.d for instance), the second",
        "into the server block that has your certificate.",
      ]),
      "",
      ...shared(site),
      "",
      comment(NGINX_PART),
      "",
      comment("The service's path; each is matched whole."),
      ...locations.slice(0, -1),
    ]);
  }
  const otherServer = site.website && "server" in site.website ? site.website.server : undefined;
  return fileOf([
    ...heading(site, "nginx", [
      "Put it inside http, as a file of its own in conf.d or sites-enabled; then: nginx -t && nginx -s reload",
      "Old workers keep their connections after a reload; worker_shutdown_timeout (main context) bounds that.",
      "Each connection takes two of worker_connections (events) and of the file descriptors.",
      "Where the machine has no IPv6, drop the lines with [::].",
    ]),
    "",
    ...shared(site),
    "",
    ...(otherServer
      ? [`upstream ${nameOf(site)}_website {`, `    ${server(otherServer)}`, `    keepalive 16;`, `}`, ""]
      : []),
    ...redirect(site),
    `server {`,
    ...indent([
      ...listen(site.listenPort, true),
      `server_name ${site.domain};`,
      "",
      ...tls(site),
      "",
      comment("The service's path; each is matched whole."),
      ...locations,
      ...(site.paths.includes("/")
        ? [comment("Nothing else is here."), `location / {`, `    return 404;`, `}`]
        : website(site)),
    ]),
    `}`,
  ]);
}

export const nginx = {
  name: "nginx",
  title: "nginx",
  needs: ["cert", "key"],
  problems: (site) => [...chainProblem(site, "nginx"), ...unquotable(site, "nginx", ["$"])],
  render,
} as const satisfies Generator;
