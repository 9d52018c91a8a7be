/**
 * What a proxy configuration is made from, and what makes it.
 * @module
 */

/** Where a server is reached. `host` is an address (IPv6 without brackets) or a name. */
export type Upstream =
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | { readonly transport: "unix"; readonly path: string };

/** Paths of the proxy's TLS material, absolute. */
export interface SiteCertificate {
  readonly cert: string;
  /** Undefined: in the certificate's file (HAProxy). */
  readonly key: string | undefined;
  readonly chain: string | undefined;
}

/** The facts of one site. Every text in it is checked: none breaks out of a quoted string or a line by itself. */
export interface Site {
  /** The whole server, or only what goes into an existing one. */
  readonly scope: "site" | "location";
  /** Lower-case A-labels. A whole site has one. */
  readonly domain: string | undefined;
  /** Undefined: the proxy gets its own (Caddy), or it is the existing server's matter. */
  readonly certificate: SiteCertificate | undefined;
  readonly minTls: "1.2" | "1.3";
  readonly listenPort: number;
  /** Undefined: no redirect. */
  readonly redirectPort: number | undefined;
  /** What stands at `/` beside the service. */
  readonly website: { readonly root: string } | { readonly server: Upstream } | undefined;
  /** Where the service takes upgrades; each is matched whole. */
  readonly paths: readonly [string, ...string[]];
  readonly upstreams: readonly [Upstream, ...Upstream[]];
  /** How often a quiet connection is pinged, in ms; 0 is never. */
  readonly pingInterval: number;
  /** When the proxy gives up on a quiet connection, in whole seconds: later than the service does. */
  readonly quietTimeout: number;
  /** For how long a request's head may take, in whole seconds. */
  readonly headTimeout: number;
  /** For how long an idle upstream connection is worth keeping, in whole seconds: less than the service keeps it. */
  readonly keepAlive: number;
  /** The service's flags that this configuration was made for. */
  readonly flags: readonly string[];
}

/** One kind of proxy. Both functions are pure. */
export interface Generator {
  readonly name: string;
  /** As people write it. */
  readonly title: string;
  /** What a site needs besides the domain. */
  readonly needs: readonly ("cert" | "key")[];
  /** What this proxy cannot do, or its syntax cannot carry: one sentence each. */
  problems(site: Site): readonly string[];
  /** The configuration of a site that has no problems. */
  render(site: Site): string;
}
