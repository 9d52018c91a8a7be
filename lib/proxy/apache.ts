/**
 * Apache httpd 2.4.
 * @module
 */
import type { Generator, Site, Upstream } from "./site_description.ts";
import {
  comment,
  fileOf,
  heading,
  hostPort,
  indent,
  nameOf,
  OPENSSL_SUITES,
  pathsExpression,
  publicOrigin,
  timeoutReason,
  unquotable,
} from "./config_text.ts";

/** Quotes a path. `${…}` cannot be escaped: `problems` refuses it. */
function quote(path: string): string {
  return `"${path.replaceAll(/["\\]/g, "\\$&")}"`;
}

function address(scheme: string, upstream: Upstream, number: number): string {
  return upstream.transport === "unix"
    // The host name only distinguishes the members of a group; Apache connects to the socket.
    ? `unix:${upstream.path}|${scheme}://service${number}.localhost`
    : `${scheme}://${hostPort(upstream)}`;
}

function need(module: string, what: string): string[] {
  return [
    `<IfModule !${module}_module>`,
    `    Error "wss: mod_${module} is missing, which ${what} (Debian: a2enmod ${module})"`,
    `</IfModule>`,
  ];
}

function modules(site: Site): string[] {
  const group = site.upstreams.length > 1;
  const needed: [string, string][] = [
    ["proxy", "everything here needs"],
    ["headers", "tells the service who the client is"],
    ...(site.scope === "site"
      ? [["ssl", "speaks TLS"], ["socache_shmcb", "resumes TLS sessions"]] as [string, string][]
      : []),
    ...(group
      ? [["proxy_balancer", "shares the load"], ["slotmem_shm", "the balancer needs"], [
        "lbmethod_bybusyness",
        "sends a connection where the fewest are",
      ]] as [string, string][]
      : []),
  ];
  return [
    comment("The modules that this needs; one that is missing is named when the configuration is tested."),
    comment(
      "From 2.4.47 on mod_proxy_http speaks WebSocket (upgrade=websocket); before that it takes mod_proxy_wstunnel.",
    ),
    ...needed.flatMap(([module, what]) => need(module, what)),
    `<IfVersion >= 2.4.47>`,
    ...indent(need("proxy_http", "speaks WebSocket")),
    `</IfVersion>`,
    `<IfVersion < 2.4.47>`,
    ...indent(need("proxy_wstunnel", "speaks WebSocket")),
    `</IfVersion>`,
  ];
}

function route(site: Site, scheme: "http" | "ws"): string[] {
  const parameters = [
    ...(scheme === "http" ? ["upgrade=websocket"] : []),
    `connectiontimeout=5`,
    `timeout=${site.quietTimeout}`,
    `ttl=${site.keepAlive}`,
    `flushpackets=on`,
  ].join(" ");
  // ProxyPassMatch appends the matched path if the address has none.
  const pass = (to: string) => `ProxyPassMatch "${pathsExpression(site)}" "${to}"`;
  if (site.upstreams.length === 1) return [`${pass(address(scheme, site.upstreams[0], 1))} ${parameters}`];
  return [
    `<Proxy "balancer://${nameOf(site)}">`,
    ...site.upstreams.map((upstream, at) => `    BalancerMember "${address(scheme, upstream, at + 1)}" ${parameters}`),
    `    ProxySet lbmethod=bybusyness`,
    `</Proxy>`,
    pass(`balancer://${nameOf(site)}`),
  ];
}

function forwarding(): string[] {
  return [
    comment("Who the client is and how it came. Set, not appended: what a client sent under these names is gone."),
    `ProxyAddHeaders Off`,
    `RequestHeader set X-Real-IP "expr=%{REMOTE_ADDR}"`,
    `RequestHeader set X-Forwarded-For "expr=%{REMOTE_ADDR}"`,
    `RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"`,
    `RequestHeader set X-Forwarded-Host "expr=%{HTTP_HOST}"`,
    `RequestHeader set X-SSL-Protocol "%{SSL_PROTOCOL}s"`,
    `RequestHeader unset Forwarded`,
    comment("A client that names these in Connection would have them dropped again on the way to the service."),
    `RequestHeader set Connection Upgrade "expr=-n %{HTTP:Upgrade}"`,
    `RequestHeader unset Connection "expr=-z %{HTTP:Upgrade}"`,
  ];
}

function service(site: Site): string[] {
  return [
    comment(
      "The service's path; each is matched whole. A handshake becomes a WebSocket, anything else stays HTTP/1.1.",
    ),
    comment(timeoutReason(site)),
    `ProxyRequests Off`,
    `ProxyPreserveHost On`,
    `<IfVersion >= 2.4.47>`,
    ...indent(route(site, "http")),
    `</IfVersion>`,
    `<IfVersion < 2.4.47>`,
    ...indent(route(site, "ws")),
    `</IfVersion>`,
    `<LocationMatch "${pathsExpression(site)}">`,
    ...indent([
      ...forwarding(),
      comment(
        "A handshake has no body (LimitRequestBody does not reach what is proxied); messages are the service's to",
      ),
      comment("limit (--max-payload)."),
      `AuthMerging And`,
      `Require expr "%{HTTP:Transfer-Encoding} == '' && %{HTTP:Content-Length} in {'', '0'}"`,
      comment("Java's client and others send Content-Length: 0, which Deno answers with 400."),
      `RequestHeader unset Content-Length`,
    ]),
    `</LocationMatch>`,
  ];
}

function website(site: Site): string[] {
  if (site.website === undefined) return [comment("Nothing else is here."), `RedirectMatch 404 "."`];
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
    comment("TLS by Mozilla's intermediate recommendation."),
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
    comment("Plain HTTP is sent to https."),
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
    "Each connection occupies one worker thread: MaxRequestWorkers is how many there can be at once.",
  );
  if (site.scope === "location") {
    const howTo = [
      "Put it into the <VirtualHost> that has your certificate; then: apachectl configtest && apachectl graceful",
    ];
    return fileOf([...heading(site, "Apache", howTo), "", ...modules(site), "", workers, ...service(site)]);
  }
  return fileOf([
    ...heading(site, "Apache", [
      "A file of its own in sites-enabled or conf.d; then: apachectl configtest && apachectl graceful",
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
    comment("Clients that come back resume their session."),
    `SSLSessionCache "shmcb:wss_sessions(512000)"`,
    `SSLSessionCacheTimeout 86400`,
    "",
    ...redirect(site),
    ...(site.listenPort === 443
      ? [comment("Listen 443 stands in ports.conf (Debian) or conf.d/ssl.conf (Fedora).")]
      : [`Listen ${site.listenPort}`]),
    `<VirtualHost *:${site.listenPort}>`,
    ...indent([
      `ServerName ${site.domain}`,
      "",
      ...tls(site),
      "",
      comment("A request's head: as long as the service waits for one, and shorter than it takes (64 KiB)."),
      `<IfModule reqtimeout_module>`,
      `    RequestReadTimeout header=${site.headTimeout}`,
      `</IfModule>`,
      `LimitRequestFields 100`,
      comment("A quiet connection ends after the longer one of this and the timeout of the route below."),
      `Timeout ${site.quietTimeout}`,
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
  needs: ["cert", "key"],
  problems: (site) => unquotable(site, "Apache", ["${"]),
  render,
} as const satisfies Generator;
