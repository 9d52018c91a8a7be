/**
 * The option table of the service, with one row per option. `--help`, the README's table, the environment variables, the
 * configuration file and the validation all use it.
 * @module
 */
import { LOOPBACK } from "../ip.ts";
import { ACME_OPTIONS } from "./acme_options.ts";
import { ADMIN_OPTIONS } from "./admin_options.ts";
import type { OptionTable, Values } from "./option_table.ts";

/** `maxPayload` is `--max-payload` as a flag, `WSS_MAX_PAYLOAD` as a variable, and `maxPayload` in the file. */
export const SERVICE_OPTIONS = {
  mode: {
    type: "choice",
    topic: "Address and mode",
    values: ["direct", "proxied"],
    default: "direct",
    help:
      "Who terminates TLS: this service (direct), or a proxy in front of it (proxied): nginx, Apache, HAProxy or Caddy.",
  },
  host: {
    type: "text",
    topic: "Address and mode",
    value: "ADDRESS",
    unset: "127.0.0.1; 0.0.0.0 with --cert or --domain",
    help: "The address to bind. :: accepts IPv6 and IPv4.",
  },
  port: {
    type: "port",
    topic: "Address and mode",
    value: "PORT",
    unset: "8282; 443 with --domain",
    help: "The port to bind. 0 picks a free one.",
  },
  unix: {
    type: "path",
    topic: "Address and mode",
    value: "PATH",
    help: "Proxied only: listen on this unix socket instead of host and port. A stale socket file is replaced.",
  },
  unixMode: {
    type: "text",
    topic: "Address and mode",
    value: "MODE",
    default: "660",
    help:
      "Proxied only: permissions of the unix socket, octal. With 660 its owner and its group may connect; add the proxy's user to the group.",
  },
  path: {
    type: "text",
    topic: "Address and mode",
    value: "PATH",
    repeat: true,
    default: ["/", "/wss"],
    help:
      "Paths that accept WebSocket upgrades: literal, or a pattern (/rooms/*, /rooms/:id). Any other path gets 404.",
  },
  cert: {
    type: "path",
    topic: "Certificate",
    value: "FILE",
    unset: "the development certificate in certs/",
    help: "Direct only: the certificate (PEM), with or without its intermediates.",
  },
  key: {
    type: "path",
    topic: "Certificate",
    value: "FILE",
    help: "Direct only: the certificate's private key (PEM: PKCS#8, PKCS#1 or SEC1).",
  },
  chain: {
    type: "path",
    topic: "Certificate",
    value: "FILE",
    help: "Direct only: the intermediate certificates (PEM), if the certificate file does not contain them.",
  },
  keyPassphraseFile: {
    type: "path",
    topic: "Certificate",
    value: "FILE",
    help: "Direct only: a file whose first line is the passphrase of the private key.",
  },
  keyPassphrase: {
    type: "text",
    topic: "Certificate",
    variableOnly: true,
    help: "Direct only: the passphrase of the private key.",
  },
  ...ACME_OPTIONS,
  minTls: {
    type: "tls",
    topic: "Certificate",
    default: "1.2",
    value: "1.2|1.3",
    help:
      "The lowest TLS version; never below 1.2. 1.3 requires proxied mode, where it is checked if the proxy reports the " +
      "version (X-SSL-Protocol); --strict-proxy then requires the report.",
  },
  trustedProxy: {
    type: "cidr",
    topic: "Behind a proxy",
    value: "CIDR",
    repeat: true,
    default: LOOPBACK,
    help: "Proxied only: the addresses of proxies whose forwarding headers are trusted.",
  },
  clientAddressHeader: {
    type: "choice",
    topic: "Behind a proxy",
    values: ["auto", "x-real-ip", "x-forwarded-for", "forwarded"],
    default: "auto",
    help: "Proxied only: the header with the client's address. auto reads all three and trusts none if they disagree.",
  },
  strictProxy: {
    type: "switch",
    topic: "Behind a proxy",
    default: false,
    help: "Proxied only: refuse requests without proof that the client used TLS (X-Forwarded-Proto or X-SSL-Protocol).",
  },
  app: {
    type: "module",
    topic: "App",
    value: "APP",
    default: "ok",
    help: "The app: ok, echo, chat, or the path or URL of a module that exports one.",
  },
  page: {
    type: "switch",
    topic: "App",
    unset: "on with the development certificate",
    help: "Show a test page to browsers that open a WebSocket path.",
  },
  origin: {
    type: "text",
    topic: "App",
    value: "ORIGIN",
    repeat: true,
    unset: "automatic",
    help:
      "The origins that may connect: * for any, or values of the Origin header (https://example.com, null, file://). automatic refuses cross-site requests with cookies.",
  },
  maxPayload: {
    type: "size",
    topic: "Limits",
    value: "SIZE",
    default: "1MiB",
    min: 1,
    max: 64 * 1024 ** 2,
    help:
      "The largest message. A larger one closes its connection with 1009. At most 64MiB, the largest frame that Deno accepts.",
  },
  maxBackpressure: {
    type: "size",
    topic: "Limits",
    value: "SIZE",
    default: "1MiB",
    min: 1,
    help:
      "The most unsent data for one peer (each message counts 1KiB more). A peer above it is closed with 1013 if it reads nothing for 5s or exceeds eight times the limit.",
  },
  memoryBudget: {
    type: "size",
    topic: "Limits",
    value: "SIZE",
    min: 1024 ** 2,
    unset: "an eighth of the memory, at most 512MiB",
    help:
      "The most data that waits to be sent or for the app, for all peers together, with the subscriptions of each above 64KiB. Above it, the peers with the most are closed with 1013. Unfinished messages may use half as much in addition.",
  },
  messageTimeout: {
    type: "duration",
    topic: "Limits",
    value: "TIME",
    default: "2m",
    help:
      "How long a message may take to arrive before its connection is closed (2m allow 1MiB at 9KiB/s); 0 is unlimited.",
  },
  maxConnections: {
    type: "count",
    topic: "Limits",
    value: "N",
    min: 1,
    unset: "from the descriptor limit",
    help: "The most connections at once. Further ones get 503 with Retry-After.",
  },
  maxConnectionsPerAddress: {
    type: "count",
    topic: "Limits",
    value: "N",
    default: "0",
    help:
      "The most connections at once from one client address (IPv6: from one /64). Further ones get 503; 0 is unlimited.",
  },
  maxConnectionsPerUser: {
    type: "count",
    topic: "Limits",
    value: "N",
    default: "0",
    help:
      "The most connections at once of one user on this node. A further one gets 503 if its token names the user, otherwise it is closed with 1008; 0 is unlimited.",
  },
  messageRate: {
    type: "count",
    topic: "Limits",
    value: "N",
    default: "0",
    help:
      "The most messages per second from one connection; a burst may have twice as many. A connection above the limit is closed with 1008; 0 is unlimited.",
  },
  idleTimeout: {
    type: "duration",
    topic: "Limits",
    value: "TIME",
    default: "30s",
    min: 100,
    zero: true,
    help: "A silent connection is pinged after half of this time and closed after all of it; 0 turns this off.",
  },
  handshakeTimeout: {
    type: "duration",
    topic: "Limits",
    value: "TIME",
    default: "10s",
    min: 100,
    help: "How long a connection may take to send its request before it is closed.",
  },
  drainTimeout: {
    type: "duration",
    topic: "Limits",
    value: "TIME",
    default: "10s",
    help: "How long connections may stay open while the service stops; 0 closes them at once.",
  },
  authTokenFile: {
    type: "path",
    topic: "Tokens",
    value: "FILE",
    help: "Require one of the shared secrets in this file, one per line; # begins a comment.",
  },
  jwtSecretFile: {
    type: "path",
    topic: "Tokens",
    value: "FILE",
    help: "Require a JWT signed with HS256 and the secret in this file (at least 32 bytes).",
  },
  jwtPublicKeyFile: {
    type: "path",
    topic: "Tokens",
    value: "FILE",
    help: "Require a JWT that this public key (PEM) verifies: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).",
  },
  jwksUrl: {
    type: "text",
    topic: "Tokens",
    value: "URL",
    help: "Require a JWT signed with a key of the key set at this https URL (RS256, ES256, EdDSA).",
  },
  jwtAudience: {
    type: "text",
    topic: "Tokens",
    value: "NAME",
    help: "The aud claim that a JWT must have. Without it, a token issued for another service is accepted too.",
  },
  jwtIssuer: { type: "text", topic: "Tokens", value: "NAME", help: "The iss claim that a JWT must have." },
  authQuery: {
    type: "switch",
    topic: "Tokens",
    default: false,
    help: "Also accept the token as ?token=. Browser histories and proxy logs keep such URLs.",
  },
  revokedTokens: {
    type: "choice",
    topic: "Tokens",
    values: ["close", "keep"],
    default: "close",
    help: "Whether connections whose token or key was removed from its file are closed (with 3000) or kept.",
  },
  broker: {
    type: "text",
    topic: "Broker",
    value: "URL",
    help:
      "Connect this node to the other nodes of the service: nats://HOST:PORT or redis://HOST:PORT; tls:// or rediss:// for TLS. Separate the members of a cluster with commas.",
  },
  brokerCredentialsFile: {
    type: "path",
    topic: "Broker",
    value: "FILE",
    help:
      "A file with the broker's credentials: USER:PASSWORD on one line, or a NATS .creds file. Other users of this machine can read a URL on the command line, but not this file.",
  },
  brokerCa: {
    type: "path",
    topic: "Broker",
    value: "FILE",
    help: "The certificate authorities (PEM) that may have issued the broker's certificate.",
  },
  brokerPrefix: {
    type: "text",
    topic: "Broker",
    value: "NAME",
    default: "wss",
    help: "The prefix of the broker's subjects and channels. Services that share a broker need different prefixes.",
  },
  brokerOptional: {
    type: "switch",
    topic: "Broker",
    default: false,
    help: "Start even if the broker cannot be reached, and connect as soon as it is reachable.",
  },
  ...ADMIN_OPTIONS,
  logFormat: {
    type: "choice",
    topic: "Log",
    values: ["text", "json"],
    unset: "text if standard error is a terminal, otherwise json",
    help: "The format of log lines.",
  },
  accessLog: {
    type: "switch",
    topic: "Log",
    default: false,
    help: "Log when each connection opens and ends at level info; without this option, at level debug.",
  },
  logLevel: {
    type: "choice",
    topic: "Log",
    values: ["error", "warn", "info", "debug"],
    default: "info",
    help: "The least severe level that is logged.",
  },
} as const satisfies OptionTable;

/** The settings of the service, with defaults applied. */
export type Settings = Values<typeof SERVICE_OPTIONS>;
