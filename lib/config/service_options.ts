/**
 * The options of the service: one row each. `--help`, the README's table, the variables, the file and the validation
 * all come from here.
 * @module
 */
import { LOOPBACK } from "../ip.ts";
import { ACME_OPTIONS } from "./acme_options.ts";
import type { Input, OptionTable, Values } from "./option_table.ts";

/** Flags `--max-payload`, variables `WSS_MAX_PAYLOAD`, file keys `maxPayload`. */
export const SERVICE_OPTIONS = {
  mode: {
    type: "choice",
    values: ["direct", "proxied"],
    default: "direct",
    help:
      "Who terminates TLS: this service (direct), or nginx, Apache, HAProxy or Caddy in front (proxied, plain ws here).",
  },
  host: {
    type: "text",
    value: "ADDRESS",
    unset: "127.0.0.1; 0.0.0.0 with a certificate of yours or --domain",
    help: "Address to bind; :: is IPv6 and IPv4 together.",
  },
  port: { type: "port", value: "PORT", unset: "8282; 443 with --domain", help: "Port to bind; 0 picks a free one." },
  unix: {
    type: "path",
    value: "PATH",
    help: "Proxied only: a unix socket in place of host and port; a stale socket file is replaced.",
  },
  unixMode: {
    type: "text",
    value: "MODE",
    default: "660",
    help:
      "Proxied only: who may connect to the unix socket, octal; 660 is its owner and its group, where the proxy's " +
      "user belongs.",
  },
  path: {
    type: "text",
    value: "PATH",
    repeat: true,
    default: ["/", "/wss"],
    help: "Where a WebSocket upgrade is welcome; elsewhere the answer is 404.",
  },
  cert: {
    type: "path",
    value: "FILE",
    unset: "the development certificate in certs/",
    help: "Direct only: the certificate, PEM, with its chain or apart from it.",
  },
  key: { type: "path", value: "FILE", help: "Direct only: its private key, PEM (PKCS#8, PKCS#1 or SEC1)." },
  chain: {
    type: "path",
    value: "FILE",
    help: "Direct only: the intermediate certificates, PEM, where they are not in the certificate's file.",
  },
  keyPassphraseFile: { type: "path", value: "FILE", help: "Direct only: the file whose first line decrypts the key." },
  keyPassphrase: { type: "text", variableOnly: true, help: "Direct only: decrypts the key." },
  ...ACME_OPTIONS,
  minTls: {
    type: "tls",
    default: "1.2",
    value: "1.2|1.3",
    help: "Lowest TLS version; nothing below 1.2 is accepted, and 1.3 needs proxied mode.",
  },
  trustedProxy: {
    type: "cidr",
    value: "CIDR",
    repeat: true,
    default: LOOPBACK,
    help: "Proxied only: whose forwarding headers are believed.",
  },
  clientAddressHeader: {
    type: "choice",
    values: ["auto", "x-real-ip", "x-forwarded-for", "forwarded"],
    default: "auto",
    help:
      "Proxied only: the header in which the proxy names its client; auto reads all and believes none where they disagree.",
  },
  strictProxy: {
    type: "switch",
    default: false,
    help: "Proxied only: refuse a request without the proxy's proof of TLS (X-Forwarded-Proto or X-SSL-Protocol).",
  },
  app: {
    type: "module",
    value: "APP",
    default: "ok",
    help: "What answers: ok, echo, chat, or the path or URL of a module that exports an app.",
  },
  page: {
    type: "switch",
    unset: "on with the development certificate",
    help: "Show the test page to a browser that opens a WebSocket path.",
  },
  origin: {
    type: "text",
    value: "ORIGIN",
    repeat: true,
    unset: "automatic",
    help:
      "Which sites' pages may connect: * for any, or origins (https://example.com); automatic refuses cross-site pages that carry cookies.",
  },
  maxPayload: {
    type: "size",
    value: "SIZE",
    default: "1MiB",
    min: 1,
    max: 64 * 1024 ** 2,
    help: "A longer message closes its connection with 1009; 64MiB at the most, as Deno takes no longer frame.",
  },
  maxBackpressure: {
    type: "size",
    value: "SIZE",
    default: "1MiB",
    min: 1,
    help:
      "A peer with more unsent than this (1KiB a message counts besides its bytes) that reads nothing for 5s is closed " +
      "with 1013; so is one with eight times as much.",
  },
  memoryBudget: {
    type: "size",
    value: "SIZE",
    min: 1024 ** 2,
    unset: "an eighth of the memory, 512MiB at the most",
    help:
      "What waits for all peers together; beyond it the fullest are closed with 1013. Unfinished messages may take half " +
      "as much again.",
  },
  messageTimeout: {
    type: "duration",
    value: "TIME",
    default: "2m",
    help: "How long a message may take to arrive whole (1MiB at 9KiB/s); then its connection is cut; 0 is off.",
  },
  maxConnections: {
    type: "count",
    value: "N",
    min: 1,
    unset: "from the descriptor limit",
    help: "Connections at once; beyond it 503 with Retry-After.",
  },
  maxConnectionsPerAddress: {
    type: "count",
    value: "N",
    default: "0",
    help: "Connections at once from one client address (IPv6: one /64); beyond it 503; 0 is unlimited.",
  },
  maxConnectionsPerUser: {
    type: "count",
    value: "N",
    default: "0",
    help:
      "Connections at once of one user on this node; beyond it 503 where the token names the user, else 1008; 0 is " +
      "unlimited.",
  },
  messageRate: {
    type: "count",
    value: "N",
    default: "0",
    help: "Messages a second per connection, bursts of twice that; beyond it 1008; 0 is unlimited.",
  },
  idleTimeout: {
    type: "duration",
    value: "TIME",
    default: "30s",
    min: 100,
    zero: true,
    help: "A silent connection is pinged at half of this and closed at the whole; 0 is off.",
  },
  handshakeTimeout: {
    type: "duration",
    value: "TIME",
    default: "10s",
    min: 100,
    help: "A connection that has not become a request by then is cut.",
  },
  drainTimeout: {
    type: "duration",
    value: "TIME",
    default: "10s",
    help: "How long a stopping service lets connections finish; 0 closes them at once.",
  },
  authTokenFile: {
    type: "path",
    value: "FILE",
    help: "Clients need one of the shared secrets in this file, one a line; # begins a comment.",
  },
  jwtSecretFile: {
    type: "path",
    value: "FILE",
    help: "Clients need a JWT signed with HS256 and the secret in this file, 32 bytes at the least.",
  },
  jwtPublicKeyFile: {
    type: "path",
    value: "FILE",
    help:
      "Clients need a JWT signed by the owner of this public key, PEM: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA).",
  },
  jwksUrl: {
    type: "text",
    value: "URL",
    help: "Clients need a JWT signed with a key of the key set at this https URL (RS256, ES256, EdDSA).",
  },
  jwtAudience: {
    type: "text",
    value: "NAME",
    help: "The aud that a JWT must name; without it, one meant for another service is taken too.",
  },
  jwtIssuer: { type: "text", value: "NAME", help: "The iss that a JWT must name." },
  authQuery: {
    type: "switch",
    default: false,
    help: "Take the token from ?token= too; a URL with it stays in browsers' histories and proxies' logs.",
  },
  broker: {
    type: "text",
    value: "URL",
    help:
      "Connects this node to the others of the service: nats://HOST:PORT or redis://HOST:PORT, tls:// and rediss:// over " +
      "TLS; commas between the members of a cluster.",
  },
  brokerCredentialsFile: {
    type: "path",
    value: "FILE",
    help:
      "The broker's user and password, USER:PASSWORD in one line, or a NATS .creds file; other users of this machine can read a URL.",
  },
  brokerCa: {
    type: "path",
    value: "FILE",
    help: "Authorities, PEM, that the broker's certificate may be of.",
  },
  brokerPrefix: {
    type: "text",
    value: "NAME",
    default: "wss",
    help: "What the broker's subjects and channels begin with: services that share a broker need different ones.",
  },
  brokerOptional: {
    type: "switch",
    default: false,
    help: "Start without the broker where it cannot be reached, and connect when it is there.",
  },
  logFormat: {
    type: "choice",
    values: ["text", "json"],
    unset: "text on a terminal, else json",
    help: "How log lines look.",
  },
  logLevel: {
    type: "choice",
    values: ["error", "warn", "info", "debug"],
    default: "info",
    help: "How much is logged.",
  },
} as const satisfies OptionTable;

/** Every setting of the service, resolved. */
export type Settings = Values<typeof SERVICE_OPTIONS>;

/**
 * What `serve()` takes: any of the settings. Sizes are numbers of bytes or text (`"1MiB"`), durations numbers of
 * milliseconds or text (`"30s"`). In flags, variables and the file a duration always has a unit.
 */
export type ServiceOptions = Input<typeof SERVICE_OPTIONS>;
