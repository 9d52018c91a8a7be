/**
 * HAProxy, 2.2 or newer.
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

/** Separates the two parts of the text for an existing server: lines for the frontend, and a section of its own. */
export const HAPROXY_PART = "---- a section of its own ----";

function server(upstream: Upstream, number: number): string {
  const address = upstream.transport === "unix" ? `unix@${upstream.path}` : hostPort(upstream);
  return `server s${number} ${address}`;
}

function forwarding(): string[] {
  return [
    comment("Who the client is and how it came. Set, not appended: what a client sent under these names is gone."),
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

/** Conditions for a request to the service; any of them suffices. */
function conditions(site: Site): string[] {
  const { literals, expressions } = pathsOf(site);
  return [
    ...(literals.length > 0 ? [`{ path -m str ${literals.join(" ")} }`] : []),
    ...(expressions.length > 0 ? [`{ path -m reg ${expressions.join(" ")} }`] : []),
  ];
}

function dispatch(site: Site): string[] {
  return [
    comment("The service's path; each is matched whole. HAProxy handles Upgrade and Connection request by request."),
    `use_backend ${nameOf(site)} if ${conditions(site).join(" || ")}`,
  ];
}

function backend(site: Site): string[] {
  const group = site.upstreams.length > 1;
  return [
    comment(group ? "The service, several of it: a new connection goes where the fewest are." : "The service."),
    `backend ${nameOf(site)}`,
    ...indent([
      `mode http`,
      ...(group
        ? [
          `balance leastconn`,
          comment("One that is stopping says so at /healthz and gets no new connections."),
          `option httpchk`,
          `http-check send meth GET uri /healthz ver HTTP/1.1 hdr Host ${site.domain ?? "localhost"}`,
        ]
        : []),
      comment("A handshake has no body; messages are the service's to limit (--max-payload)."),
      `http-request deny deny_status 413 if { req.body_size gt 1024 }`,
      comment("A client may offer other protocols beside websocket: one line with that one alone goes on."),
      `http-request set-header Upgrade websocket if { req.hdr(Upgrade) -m str -i websocket }`,
      comment("Java's client and others send Content-Length: 0, which Deno answers with 400."),
      `http-request del-header Content-Length if { req.hdr(Content-Length) -m str 0 }`,
      comment(timeoutReason(site)),
      `timeout connect 5s`,
      `timeout server ${site.quietTimeout}s`,
      `timeout tunnel ${site.quietTimeout}s`,
      comment("Kept connections serve what is no WebSocket; the service closes idle ones after a while."),
      `http-reuse safe`,
      `default-server pool-purge-delay ${site.keepAlive}s${group ? " check" : ""}`,
      ...(site.upstreams.some(({ transport }) => transport === "unix")
        ? [comment("With chroot in the global section, HAProxy looks for the socket's path inside of it.")]
        : []),
      ...site.upstreams.map((upstream, at) => server(upstream, at + 1)),
    ]),
  ];
}

function website(site: Site): string[] {
  const other = site.website && "server" in site.website ? site.website.server : undefined;
  if (other === undefined) return [];
  return [
    "",
    comment("The website."),
    `backend ${nameOf(site)}_website`,
    ...indent([`mode http`, `timeout connect 5s`, `timeout server 60s`, server(other, 1)]),
  ];
}

function redirect(site: Site): string[] {
  if (site.redirectPort === undefined) return [];
  return [
    comment("Plain HTTP is sent to https."),
    `frontend ${nameOf(site)}_redirect`,
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
    `frontend ${nameOf(site)}_tls`,
    ...indent([
      `mode http`,
      comment(
        "TLS by Mozilla's intermediate recommendation; the file holds certificate, intermediates and key. Clients",
      ),
      comment(
        "that come back resume their session from HAProxy's cache (global: tune.ssl.cachesize, tune.ssl.lifetime).",
      ),
      bind.join(" "),
      "",
      comment(
        "A request's head: as long as the service waits for one. HAProxy takes no longer one than its buffer, 16 KiB.",
      ),
      `timeout http-request ${site.headTimeout}s`,
      `timeout client ${site.quietTimeout}s`,
      comment("A peer that never confirms a close is let go."),
      `timeout client-fin ${site.headTimeout}s`,
      "",
      ...forwarding(),
      "",
      ...dispatch(site),
      site.website === undefined
        ? `http-request return status 404 if ${conditions(site).map((condition) => `!${condition}`).join(" ")}`
        : `default_backend ${nameOf(site)}_website`,
    ]),
    "",
  ];
}

function render(site: Site): string {
  if (site.scope === "location") {
    return fileOf([
      ...heading(site, "HAProxy", [
        "The first part goes into the frontend that has your certificate (mode http), the second is a section of its",
        "own; then: haproxy -c -f haproxy.cfg and a reload. That frontend needs its own timeout client.",
      ]),
      "",
      ...forwarding(),
      "",
      ...dispatch(site),
      "",
      comment(HAPROXY_PART),
      "",
      ...backend(site),
    ]);
  }
  return fileOf([
    ...heading(site, "HAProxy", [
      "Put it behind the global section of haproxy.cfg; then: haproxy -c -f haproxy.cfg and a reload.",
      "Old processes keep their connections after a reload; hard-stop-after (global) bounds that.",
    ]),
    "",
    ...redirect(site),
    ...frontend(site),
    ...backend(site),
    ...website(site),
  ]);
}

/** The key must be in the certificate's file, or beside it under the name that HAProxy expects. */
function keyProblem(site: Site): string[] {
  const { cert, key, chain } = site.certificate ?? {};
  const found = key === undefined || key === cert || key === `${cert}.key`;
  if (found && chain === undefined) return [];
  if (found) return chainProblem(site, "HAProxy");
  return [
    `--key${
      chain === undefined ? "" : ", --chain"
    }: HAProxy reads certificate, intermediates and key from one file: run ` +
    `cat ${
      [cert, chain, key].filter((file) => file !== undefined).join(" ")
    } > haproxy.pem (readable by HAProxy only), ` +
    `and give --cert haproxy.pem alone`,
  ];
}

export const haproxy = {
  name: "haproxy",
  title: "HAProxy",
  needs: ["cert"],
  problems: (site) => [
    ...keyProblem(site),
    ...(site.website && "root" in site.website
      ? ["--root: HAProxy serves no files: run a web server and give --website"]
      : []),
    ...unquotable(site, "HAProxy", ["'"]),
  ],
  render,
} as const satisfies Generator;
