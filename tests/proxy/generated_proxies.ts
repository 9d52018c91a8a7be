/**
 * Starts proxies with generated configurations in front of a service.
 */
import { generateProxyConfiguration, proxyCommand } from "../../lib/cli/proxy.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { HAPROXY_SEPARATOR } from "../../lib/proxy/haproxy.ts";
import { NGINX_SEPARATOR } from "../../lib/proxy/nginx.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { hasProxy, type ProxyKind, type RunningProxy, startProxy } from "../support/proxies.ts";

export const KINDS: readonly ProxyKind[] = ["nginx", "apache", "haproxy", "caddy"];

/** A TLS server that exists already. */
export interface ExistingServer {
  readonly port: number;
  readonly cert: string;
  readonly key: string;
  /** The certificate and the key in one file, for HAProxy. */
  readonly bundle: string;
  /** `HOST:PORT` of another app, which gets all other requests. Default: none. */
  readonly app?: string;
}

/** Puts the generated part for an existing server where its comment says. */
export function putIntoServer(kind: ProxyKind, part: string, server: ExistingServer): string {
  const { port, cert, key, bundle, app } = server;
  const [first = "", second = ""] = part.split(`# ${kind === "nginx" ? NGINX_SEPARATOR : HAPROXY_SEPARATOR}`);
  switch (kind) {
    case "nginx":
      return [
        `${first}\nserver { listen ${port} ssl; ssl_certificate ${cert}; ssl_certificate_key ${key};\n${second}`,
        app === undefined ? "}" : `location / { proxy_pass http://${app}; } }`,
      ].join("\n");
    case "apache":
      return [
        `Listen ${port}\n<VirtualHost *:${port}>\nSSLEngine on\nSSLCertificateFile ${cert}\nSSLCertificateKeyFile ${key}`,
        `${part}\n${app === undefined ? "" : `ProxyPass "/" "http://${app}/"\n`}</VirtualHost>`,
      ].join("\n");
    case "haproxy":
      return [
        `frontend mine\nmode http\ntimeout client 1m\nbind :${port} ssl crt ${bundle}`,
        // A content delivery network is in front.
        "http-request set-header X-Forwarded-For 203.0.113.9\nhttp-request set-header X-Forwarded-Proto https",
        `${first}\n${app === undefined ? "" : "default_backend app"}\n${second}`,
        app === undefined ? "" : `backend app\nmode http\ntimeout connect 5s\ntimeout server 1m\nserver s1 ${app}`,
      ].join("\n") + "\n";
    case "caddy":
      return `{\nauto_https disable_redirects\n}\nhttps://localhost:${port} {\ntls ${cert} ${key}\n${part}\n${
        app === undefined ? "" : `reverse_proxy ${app}`
      }\n}`;
  }
}

/** Certificates, and a function that starts proxies with them. */
export interface GeneratedProxies extends AsyncDisposable {
  /** PEM text. */
  readonly ca: string;
  readonly folder: string;
  /** Starts a proxy with the site that `wss proxy` generates for these flags. `redirect`: its plain HTTP port. */
  start(kind: ProxyKind, ...flags: string[]): Promise<RunningProxy & { readonly redirect: number }>;
}

/** Issues the certificates. Returns undefined and logs a message if a program is not installed. */
export async function openGeneratedProxies(kind: ProxyKind): Promise<GeneratedProxies | undefined> {
  if (!await hasProxy(kind) || !await hasOpenssl()) return undefined;
  const pki = await openPki();
  // The proxy's workers run as another user and must read the website.
  await Deno.chmod(pki.folder, 0o755);
  const root = await pki.authority("root");
  const middle = await pki.authority("middle", { issuer: root });
  const leaf = await pki.leaf("leaf", { issuer: middle });
  const cert = await pki.bundle("full.pem", leaf.cert, middle.cert);
  const bundle = await pki.bundle("haproxy.pem", leaf.cert, middle.cert, leaf.key);
  const tls = kind === "haproxy" ? ["--cert", bundle] : ["--cert", cert, "--key", leaf.key];
  return {
    ca: await Deno.readTextFile(root.cert),
    folder: pki.folder,
    async start(kind, ...flags) {
      let redirect = 0;
      const proxy = await startProxy(kind, (port, other) => {
        redirect = other("redirect");
        const ports = ["--listen-port", String(port), "--redirect-port", String(redirect)];
        const words = [kind, "--site", "--domain", "localhost", ...tls, ...ports, ...flags];
        const { values, positionals, problems } = parseFlags(words, proxyCommand.options);
        return generateProxyConfiguration({ flags: values, positionals, problems }, {}).text;
      });
      return Object.assign(proxy, { redirect });
    },
    [Symbol.asyncDispose]: () => pki[Symbol.asyncDispose](),
  };
}
