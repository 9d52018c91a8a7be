/**
 * Starts proxies with generated configurations in front of a service.
 */
import { generateProxyConfiguration, proxyCommand } from "../../lib/cli/proxy.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { hasOpenssl, openPki } from "../support/openssl.ts";
import { hasProxy, type ProxyKind, type RunningProxy, startProxy } from "../support/proxies.ts";

export const KINDS: readonly ProxyKind[] = ["nginx", "apache", "haproxy", "caddy"];

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
