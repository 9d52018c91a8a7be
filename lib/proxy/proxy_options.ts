/**
 * The options of the command `proxy`: those of the service, and those that only the proxy uses.
 * @module
 */
import { type OptionTable, type Values } from "../config/option_table.ts";
import { PROCESS_OPTIONS } from "../config/process_options.ts";
import { SERVICE_OPTIONS } from "../config/service_options.ts";

/** Options that only the command has. They are flags only, because `wss.json` and variables configure the service. */
const COMMAND_OPTIONS = {
  site: {
    type: "switch",
    unset: "on if --domain, --cert or another option of a whole server is given",
    flagOnly: true,
    help:
      "Print a whole server with TLS, redirect and website; --no-site: only a location to paste into an existing server.",
  },
  listenPort: {
    type: "port",
    default: "443",
    value: "PORT",
    min: 1,
    flagOnly: true,
    help: "Whole server only: the proxy's TLS port.",
  },
  redirectPort: {
    type: "port",
    default: "80",
    value: "PORT",
    flagOnly: true,
    help: "Whole server only: the plain HTTP port that redirects to the TLS port; 0: no redirect.",
  },
  upstream: {
    type: "text",
    value: "ADDRESS",
    repeat: true,
    unset: "the service's own --unix, or --host and --port",
    flagOnly: true,
    help: "The service's address for the proxy: HOST:PORT or the path of a unix socket; several share the load.",
  },
  root: {
    type: "path",
    value: "DIRECTORY",
    flagOnly: true,
    help: "Whole server only: the website's files, served at / (HAProxy cannot serve files: use --website).",
  },
  website: {
    type: "text",
    value: "ADDRESS",
    flagOnly: true,
    help: "Whole server only: the server of the website at /: HOST:PORT or the path of a unix socket.",
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

/** Options of the service that describe the proxy's TLS in this command. The help lists them with the command's options. */
const TLS_OPTIONS = {
  // Not a flag only: a service that obtains its own certificate cannot run behind a proxy, so the setting is an error.
  domain: {
    ...SERVICE_OPTIONS.domain,
    topic: undefined,
    help: "Whole server only: the name that clients connect to.",
  },
  cert: {
    ...SERVICE_OPTIONS.cert,
    topic: undefined,
    unset: undefined,
    help: "Whole server only: the proxy's certificate, PEM, with its chain (HAProxy: and its key).",
  },
  key: { ...SERVICE_OPTIONS.key, topic: undefined, help: "Whole server only: its private key, PEM, not encrypted." },
  chain: {
    ...SERVICE_OPTIONS.chain,
    topic: undefined,
    help:
      "Whole server only: the intermediate certificates (Apache; for others, put them into the certificate's file).",
  },
  minTls: {
    ...SERVICE_OPTIONS.minTls,
    topic: undefined,
    help: "Lowest TLS version that the proxy and the service accept; nothing below 1.2.",
  },
} as const satisfies OptionTable;

/** The options of the command. */
export const PROXY_OPTIONS = {
  ...SERVICE_OPTIONS,
  ...PROCESS_OPTIONS,
  ...TLS_OPTIONS,
  ...COMMAND_OPTIONS,
} as const satisfies OptionTable;

/** The resolved settings of the command. */
export type ProxySettings = Values<typeof PROXY_OPTIONS>;

/** The options that only a whole server allows. */
export const SITE_ONLY_OPTIONS: readonly (keyof ProxySettings)[] = [
  ...["cert", "key", "chain", "listenPort", "redirectPort", "root", "website"] as const,
];
