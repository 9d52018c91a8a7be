/**
 * The description of a site that a proxy configuration is generated from, and the interface of the generators.
 * @module
 */

/** The address of a server. `host` is a name or an IP address (IPv6 without brackets). */
export type Upstream =
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** Paths of the proxy's TLS material, absolute. */
export interface SiteCertificate {
  readonly cert: string;
  /** The file of the key. Undefined: the certificate's file contains the key (HAProxy). */
  readonly key: string | undefined;
  readonly chain: string | undefined;
}

/** One site. All texts are validated: none can end a quoted string or a line of a configuration. */
export interface Site {
  /** Whether to generate a whole server, or a location for an existing server. */
  readonly scope: "site" | "location";
  /** The domain in lowercase A-labels. A whole server requires it. */
  readonly domain: string | undefined;
  /** Undefined: the proxy obtains a certificate (Caddy), or the existing server has one. */
  readonly certificate: SiteCertificate | undefined;
  readonly minTls: "1.2" | "1.3";
  readonly listenPort: number;
  /** Undefined: no redirect. */
  readonly redirectPort: number | undefined;
  /** The website at `/`. */
  readonly website: { readonly root: string } | { readonly server: Upstream } | undefined;
  /** The paths that accept upgrades. The whole path must match. */
  readonly paths: readonly [string, ...string[]];
  readonly upstreams: readonly [Upstream, ...Upstream[]];
  /** The interval of pings on an idle connection, in ms; 0: no pings. */
  readonly pingInterval: number;
  /** The proxy's timeout of an idle connection, in whole seconds; longer than that of the service. */
  readonly idleTimeout: number;
  /** The timeout of a request head, in whole seconds. */
  readonly headTimeout: number;
  /** How long the proxy keeps an idle upstream connection, in whole seconds; shorter than the service keeps it. */
  readonly keepAlive: number;
  /** The flags of the service that match this configuration. */
  readonly flags: readonly string[];
}

/** The generator of one proxy's configuration. Both functions are pure. */
export interface Generator {
  readonly name: string;
  /** The display name. */
  readonly title: string;
  /** The options that a whole server requires in addition to the domain. */
  readonly required: readonly ("cert" | "key")[];
  /** Reports what this proxy does not support or its syntax does not allow, one sentence each. */
  problems(site: Site): readonly string[];
  /** Generates the configuration of a site without problems. */
  render(site: Site): string;
}
