/**
 * The description of a site, from which a proxy configuration is generated, and the interface of the generators.
 * @module
 */

/** The address of a server. `host` is an IP address (IPv6 without brackets) or a name. */
export type Upstream =
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** Paths of the proxy's TLS material, absolute. */
export interface SiteCertificate {
  readonly cert: string;
  /** The key's file. Undefined: the key is in the certificate's file (HAProxy). */
  readonly key: string | undefined;
  readonly chain: string | undefined;
}

/** One site. Every text is checked, so that none can end a quoted string or a line of a configuration. */
export interface Site {
  /** Whether to generate a whole server, or only the part for an existing one. */
  readonly scope: "site" | "location";
  /** The domain in lower-case A-labels; a whole server requires it. */
  readonly domain: string | undefined;
  /** Undefined: the proxy obtains one itself (Caddy), or the existing server has one. */
  readonly certificate: SiteCertificate | undefined;
  readonly minTls: "1.2" | "1.3";
  readonly listenPort: number;
  /** Undefined: no redirect. */
  readonly redirectPort: number | undefined;
  /** The website at `/`, next to the service. */
  readonly website: { readonly root: string } | { readonly server: Upstream } | undefined;
  /** The paths at which the service accepts upgrades; the whole path must match. */
  readonly paths: readonly [string, ...string[]];
  readonly upstreams: readonly [Upstream, ...Upstream[]];
  /** Interval of pings on a quiet connection, in ms; 0 means no pings. */
  readonly pingInterval: number;
  /** The proxy's timeout for a quiet connection, in whole seconds; longer than that of the service. */
  readonly quietTimeout: number;
  /** Timeout for the head of a request, in whole seconds. */
  readonly headTimeout: number;
  /** How long to keep an idle upstream connection, in whole seconds; shorter than the service keeps it. */
  readonly keepAlive: number;
  /** The service's flags that this configuration was made for. */
  readonly flags: readonly string[];
}

/** One kind of proxy. Both functions are pure. */
export interface Generator {
  readonly name: string;
  /** The name for people. */
  readonly title: string;
  /** What a site requires in addition to the domain. */
  readonly needs: readonly ("cert" | "key")[];
  /** What this proxy does not support or its syntax does not allow: one sentence each. */
  problems(site: Site): readonly string[];
  /** The configuration of a site without problems. */
  render(site: Site): string;
}
