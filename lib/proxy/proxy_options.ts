/**
 * The options of the command `proxy`: those of the service, and those that only a proxy needs.
 * @module
 */
import { type OptionTable, type Values } from "../config/option_table.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";

/** Options of the command only; flags only, because `wss.json` and the variables are for the service. */
const OWN = {
  site: {
    type: "switch",
    unset: "on where --domain, --cert or another fact of a whole server is given",
    flagOnly: true,
    help: "Print the whole server with TLS, redirect and website; --no-site: only the location to paste into yours.",
  },
  listenPort: {
    type: "port",
    default: "443",
    value: "PORT",
    min: 1,
    flagOnly: true,
    help: "Of the whole server: the proxy's TLS port.",
  },
  redirectPort: {
    type: "port",
    default: "80",
    value: "PORT",
    flagOnly: true,
    help: "Of the whole server: the port whose plain HTTP is redirected to the TLS port; 0 leaves the redirect out.",
  },
  upstream: {
    type: "text",
    value: "ADDRESS",
    repeat: true,
    unset: "the service's own --unix, or --host and --port",
    flagOnly: true,
    help: "Where the proxy finds the service: HOST:PORT or the path of a unix socket; several share the load.",
  },
  root: {
    type: "path",
    value: "DIRECTORY",
    flagOnly: true,
    help: "Of the whole server: the website's files, served at / (HAProxy serves no files: --website).",
  },
  website: {
    type: "text",
    value: "ADDRESS",
    flagOnly: true,
    help: "Of the whole server: where another server serves the website at /: HOST:PORT or the path of a unix socket.",
  },
  out: {
    type: "path",
    value: "FILE",
    unset: "standard output",
    flagOnly: true,
    help: "Write the configuration to this file.",
  },
  config: {
    type: "path",
    value: "FILE",
    unset: "wss.json",
    flagOnly: true,
    help: "The service's configuration file.",
  },
} as const satisfies OptionTable;

/** Options of the service that here describe the TLS of the proxy; they are listed with the command's own. */
const TURNED = {
  // Not for the command line alone: a service that obtains its certificate is none for behind a proxy.
  domain: {
    ...SERVICE_OPTIONS.domain,
    topic: undefined,
    help: "Of the whole server: the name that clients connect to.",
  },
  cert: {
    ...SERVICE_OPTIONS.cert,
    topic: undefined,
    unset: undefined,
    help: "Of the whole server: the proxy's certificate, PEM, with its chain (HAProxy: and its key).",
  },
  key: { ...SERVICE_OPTIONS.key, topic: undefined, help: "Of the whole server: its private key, PEM, not encrypted." },
  chain: {
    ...SERVICE_OPTIONS.chain,
    topic: undefined,
    help:
      "Of the whole server: the intermediate certificates (Apache; the others want them in the certificate's file).",
  },
  minTls: {
    ...SERVICE_OPTIONS.minTls,
    topic: undefined,
    help: "Lowest TLS version that the proxy and the service accept; nothing below 1.2.",
  },
} as const satisfies OptionTable;

export const PROXY_OPTIONS = { ...SERVICE_OPTIONS, ...TURNED, ...OWN } as const satisfies OptionTable;

/** Every setting of the command, resolved. */
export type ProxySettings = Values<typeof PROXY_OPTIONS>;

/** The flags that are allowed only for a whole server. */
export const SITE_ONLY: readonly (keyof ProxySettings)[] = [
  ...["cert", "key", "chain", "listenPort", "redirectPort", "root", "website"] as const,
];
