/**
 * Generates configurations for Apache httpd 2.4.
 * @module
 */
import type { Generator, Site, Upstream } from "./site_description.ts";
import {
  CLIENT_HEADERS_COMMENT,
  comment,
  findUnquotablePaths,
  formatHostPort,
  headerComment,
  indent,
  joinLines,
  OPENSSL_SUITES,
  pathsExpression,
  publicOrigin,
  sectionName,
  timeoutComment,
} from "./config_formatting.ts";

/** Quotes a path. `problems` refuses `${…}`, because it cannot be escaped. */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
}

function address(scheme: string, upstream: Upstream, number: number): string {
  return upstream.transport === "unix"
    // The host name only distinguishes the members of a balancer. Apache connects to the socket.
    ? `unix:${upstream.path}|${scheme}://service${number}.localhost`
    : `${scheme}://${formatHostPort(upstream)}`;
}

function requireModule(module: string, purpose: string): string[] {
  return [
    `<IfModule !${module}_module>`,
    `    Error "wss: mod_${module} is missing, which ${purpose} (Debian: a2enmod ${module})"`,
    `</IfModule>`,
  ];
}

function modules(site: Site): string[] {
  const group = site.upstreams.length > 1;
  const needed: [string, string][] = [
    ["proxy", "is required"],
    ["headers", "sends the client's address to the service"],
    ...(site.scope === "site"
      ? [["ssl", "supports TLS"], ["socache_shmcb", "resumes TLS sessions"]] as [string, string][]
      : []),
    ...(group
      ? [["proxy_balancer", "shares the load"], ["slotmem_shm", "the balancer requires"], [
        "lbmethod_bybusyness",
        "balances by the number of connections",
      ]] as [string, string][]
      : []),
  ];
  return [
    comment("Required modules. The configuration test reports a missing one."),
    comment(
      "From 2.4.47 on, mod_proxy_http supports WebSocket (upgrade=websocket). Older versions need mod_proxy_wstunnel.",
    ),
    ...needed.flatMap(([module, purpose]) => requireModule(module, purpose)),
    `<IfVersion >= 2.4.47>`,
    ...indent(requireModule("proxy_http", "supports WebSocket")),
    `</IfVersion>`,
    `<IfVersion < 2.4.47>`,
    ...indent(requireModule("proxy_wstunnel", "supports WebSocket")),
    `</IfVersion>`,
  ];
}

function route(site: Site, scheme: "http" | "ws"): string[] {
  const parameters = [
    ...(scheme === "http" ? ["upgrade=websocket"] : []),
    `connectiontimeout=5`,
    `timeout=${site.idleTimeout}`,
    `ttl=${site.keepAlive}`,
    `flushpackets=on`,
  ].join(" ");
  // ProxyPassMatch appends the matched path if the address has none.
  const pass = (to: string) => `ProxyPassMatch "${pathsExpression(site)}" "${to}"`;
  if (site.upstreams.length === 1) return [`${pass(address(scheme, site.upstreams[0], 1))} ${parameters}`];
  return [
    `<Proxy "balancer://${sectionName(site)}">`,
    ...site.upstreams.map((upstream, at) => `    BalancerMember "${address(scheme, upstream, at + 1)}" ${parameters}`),
    `    ProxySet lbmethod=bybusyness`,
    `</Proxy>`,
    pass(`balancer://${sectionName(site)}`),
  ];
}

function forwarding(): string[] {
  return [
    CLIENT_HEADERS_COMMENT,
    `ProxyAddHeaders Off`,
    `RequestHeader set X-Real-IP "expr=%{REMOTE_ADDR}"`,
    `RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"`,
    `RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"`,
    `RequestHeader set X-Forwarded-Host "expr=%{HTTP_HOST}"`,
    `RequestHeader set X-SSL-Protocol "%{SSL_PROTOCOL}s"`,
    `RequestHeader unset Forwarded`,
    comment("If a client lists these headers in Connection, Apache would remove them. So Connection is set here."),
    `RequestHeader set Connection Upgrade "expr=-n %{HTTP:Upgrade}"`,
    `RequestHeader unset Connection "expr=-z %{HTTP:Upgrade}"`,
  ];
}

function service(site: Site): string[] {
  return [
    comment(
      "The paths of the service. The whole path must match. Requests other than handshakes stay HTTP/1.1.",
    ),
    comment(timeoutComment(site)),
    `ProxyRequests Off`,
    `<IfVersion >= 2.4.47>`,
    ...indent(route(site, "http")),
    `</IfVersion>`,
    `<IfVersion < 2.4.47>`,
    ...indent(route(site, "ws")),
    `</IfVersion>`,
    `<LocationMatch "${pathsExpression(site)}">`,
    ...indent([
      `ProxyPreserveHost On`,
      ...forwarding(),
      comment(
        "A handshake has no body (LimitRequestBody does not apply to proxied requests). --max-payload of the service",
      ),
      comment("limits messages."),
      `AuthMerging And`,
      `Require expr "%{HTTP:Transfer-Encoding} == '' && %{HTTP:Content-Length} in {'', '0'}"`,
      comment("Java's client and others send Content-Length: 0, which Deno answers with 400."),
      `RequestHeader unset Content-Length`,
    ]),
    `</LocationMatch>`,
  ];
}

function website(site: Site): string[] {
  if (site.website === undefined) return [comment("Other paths do not exist."), `RedirectMatch 404 "."`];
  if ("root" in site.website) {
    const root = quote(site.website.root);
    return [
      comment("The website."),
      `DocumentRoot ${root}`,
      `<Directory ${root}>`,
      `    Require all granted`,
      `</Directory>`,
    ];
  }
  return [
    comment("The website, served by another server."),
    `ProxyPass "/" "${address("http", site.website.server, 0)}/"`,
    `<Location "/">`,
    ...indent(forwarding()),
    `</Location>`,
  ];
}

function tls(site: Site): string[] {
  const { cert, key, chain } = site.certificate!;
  return [
    comment("TLS as in Mozilla's intermediate profile."),
    `SSLEngine on`,
    `SSLCertificateFile ${quote(cert)}`,
    `SSLCertificateKeyFile ${quote(key!)}`,
    ...(chain === undefined ? [] : [`SSLCertificateChainFile ${quote(chain)}`]),
    `SSLProtocol -all ${site.minTls === "1.3" ? "" : "+TLSv1.2 "}+TLSv1.3`,
    `SSLCipherSuite ${OPENSSL_SUITES}`,
    `SSLHonorCipherOrder off`,
    `SSLSessionTickets off`,
  ];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is redirected to https."),
    ...(site.redirectPort === 80 ? [] : [`Listen ${site.redirectPort}`]),
    `<VirtualHost *:${site.redirectPort}>`,
    `    ServerName ${site.domain}`,
    `    RedirectMatch permanent "^/(.*)$" "${publicOrigin(site)}/$1"`,
    `</VirtualHost>`,
    "",
  ];
}

function render(site: Site): string {
  const workers = comment(
    "Each connection uses one worker thread, so MaxRequestWorkers limits the connections.",
  );
  if (site.scope === "location") {
    const instructions = [
      "Put it into the <VirtualHost> with your certificate, before other ProxyPass lines, because the first that",
      "matches is used. Then: apachectl configtest && apachectl graceful",
    ];
    return joinLines([
      ...headerComment(site, "Apache", instructions),
      "",
      ...modules(site),
      "",
      workers,
      ...service(site),
    ]);
  }
  return joinLines([
    ...headerComment(site, "Apache", [
      "Put it into a file in sites-enabled or conf.d. Then: apachectl configtest && apachectl graceful",
      "Old processes keep their connections after a graceful restart.",
    ]),
    "",
    ...modules(site),
    "",
    workers,
    `<IfModule mpm_event_module>`,
    `    ThreadsPerChild 64`,
    `    ServerLimit 64`,
    `    MaxRequestWorkers 4096`,
    `</IfModule>`,
    "",
    comment("Returning clients resume their session."),
    `SSLSessionCache "shmcb:wss_sessions(512000)"`,
    `SSLSessionCacheTimeout 86400`,
    "",
    ...redirect(site),
    ...(site.listenPort === 443
      ? [comment("ports.conf (Debian) or conf.d/ssl.conf (Fedora) contains Listen 443.")]
      : [`Listen ${site.listenPort}`]),
    `<VirtualHost *:${site.listenPort}>`,
    ...indent([
      `ServerName ${site.domain}`,
      "",
      ...tls(site),
      "",
      comment("Request head: the timeout is the service's, the size limit is below the service's (64 KiB)."),
      `<IfModule reqtimeout_module>`,
      `    RequestReadTimeout header=${site.headTimeout}`,
      `</IfModule>`,
      `LimitRequestFields 100`,
      comment("An idle connection is closed after the longer of this timeout and the timeout of the route below."),
      `Timeout ${site.idleTimeout}`,
      "",
      ...service(site),
      "",
      ...website(site),
    ]),
    `</VirtualHost>`,
  ]);
}

export const apache = {
  name: "apache",
  title: "Apache",
  required: ["cert", "key"],
  problems: (site) => findUnquotablePaths(site, "Apache", ["${"]),
  render,
} as const satisfies Generator;
