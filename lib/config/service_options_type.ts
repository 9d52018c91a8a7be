/**
 * The options of `serve()`. This file is generated from the option table (service_options.ts); a test compares them.
 * @module
 */

/**
 * What `serve()` takes. Sizes are numbers of bytes or text (`"1MiB"`), durations numbers of milliseconds or text
 * (`"30s"`). Every option may be left out.
 */
export interface ServiceOptions {
  /**
   * Who terminates TLS: this service (direct), or a proxy in front of it (proxied): nginx, Apache, HAProxy or Caddy.
   * Default: direct.
   */
  readonly mode?: "direct" | "proxied" | undefined;
  /** The address to bind. :: accepts IPv6 and IPv4. Default: 127.0.0.1; 0.0.0.0 with --cert or --domain. */
  readonly host?: string | undefined;
  /** The port to bind. 0 picks a free one. Default: 8282; 443 with --domain. */
  readonly port?: number | undefined;
  /** Proxied only: listen on this unix socket instead of host and port. A stale socket file is replaced. */
  readonly unix?: string | undefined;
  /**
   * Proxied only: permissions of the unix socket, octal. With 660 its owner and its group may connect; add the
   * proxy's user to the group. Default: 660.
   */
  readonly unixMode?: string | undefined;
  /**
   * Paths that accept WebSocket upgrades: literal, or a pattern (/rooms/*, /rooms/:id). Any other path gets 404.
   * Default: /, /wss.
   */
  readonly path?: readonly string[] | undefined;
  /**
   * Direct only: the certificate (PEM), with or without its intermediates. Default: the development certificate in
   * certs/.
   */
  readonly cert?: string | undefined;
  /** Direct only: the certificate's private key (PEM: PKCS#8, PKCS#1 or SEC1). */
  readonly key?: string | undefined;
  /** Direct only: the intermediate certificates (PEM), if the certificate file does not contain them. */
  readonly chain?: string | undefined;
  /** Direct only: a file whose first line is the passphrase of the private key. */
  readonly keyPassphraseFile?: string | undefined;
  /** Direct only: the passphrase of the private key. */
  readonly keyPassphrase?: string | undefined;
  /**
   * Direct only: obtain and renew a certificate for this name by ACME (HTTP-01). Port 80 of the name must lead to
   * this service.
   */
  readonly domain?: readonly string[] | undefined;
  /**
   * With --domain: agree to the certificate authority's terms of service. Required once, then stored in certs/acme.
   * Default: off.
   */
  readonly acmeAgreeTos?: boolean | undefined;
  /** With --domain: the e-mail address of the ACME account. */
  readonly acmeEmail?: string | undefined;
  /**
   * With --domain: the certificate authority: letsencrypt, letsencrypt-staging (for tests; clients do not trust it),
   * or the URL of an ACME directory. Default: letsencrypt.
   */
  readonly acmeDirectory?: string | undefined;
  /** With --domain: the root certificate of a private certificate authority such as step-ca (PEM). */
  readonly acmeCa?: string | undefined;
  /** With --domain: the key identifier of an external account, if the certificate authority requires one. */
  readonly acmeEabKid?: string | undefined;
  /** With --domain: the file with the key of the external account (base64url). */
  readonly acmeEabKeyFile?: string | undefined;
  /** With --domain: the certificate profile to request (Let's Encrypt: classic, tlsserver, shortlived). */
  readonly acmeProfile?: string | undefined;
  /**
   * With --domain: the port that answers HTTP-01 challenges and redirects other requests to https. Port 80 of each
   * name must lead to it. Default: 80.
   */
  readonly acmeHttpPort?: number | undefined;
  /**
   * The lowest TLS version; never below 1.2. 1.3 requires proxied mode, where it is checked if the proxy reports the
   * version (X-SSL-Protocol); --strict-proxy then requires the report. Default: 1.2.
   */
  readonly minTls?: "1.2" | "1.3" | undefined;
  /** Proxied only: the addresses of proxies whose forwarding headers are trusted. Default: 127.0.0.0/8, ::1. */
  readonly trustedProxy?: readonly string[] | undefined;
  /**
   * Proxied only: the header with the client's address. auto reads all three and trusts none if they disagree.
   * Default: auto.
   */
  readonly clientAddressHeader?: "auto" | "x-real-ip" | "x-forwarded-for" | "forwarded" | undefined;
  /**
   * Proxied only: refuse requests without proof that the client used TLS (X-Forwarded-Proto or X-SSL-Protocol).
   * Default: off.
   */
  readonly strictProxy?: boolean | undefined;
  /** The app: ok, echo, chat, or the path or URL of a module that exports one. Default: ok. */
  readonly app?: string | undefined;
  /** Show a test page to browsers that open a WebSocket path. Default: on with the development certificate. */
  readonly page?: boolean | undefined;
  /**
   * The origins that may connect: * for any, or values of the Origin header (https://example.com, null, file://).
   * automatic refuses cross-site requests with cookies. Default: automatic.
   */
  readonly origin?: readonly string[] | undefined;
  /**
   * The largest message. A larger one closes its connection with 1009. At most 64MiB, the largest frame that Deno
   * accepts. Default: 1MiB.
   */
  readonly maxPayload?: number | string | undefined;
  /**
   * The most unsent data for one peer (each message counts 1KiB more). A peer above it is closed with 1013 if it
   * reads nothing for 5s or exceeds eight times the limit. Default: 1MiB.
   */
  readonly maxBackpressure?: number | string | undefined;
  /**
   * The most data that waits to be sent or for the app, for all peers together, with the subscriptions of each above
   * 64KiB. Above it, the peers with the most are closed with 1013. Unfinished messages may use half as much in
   * addition. Default: an eighth of the memory, at most 512MiB.
   */
  readonly memoryBudget?: number | string | undefined;
  /**
   * How long a message may take to arrive before its connection is closed (2m allow 1MiB at 9KiB/s); 0 is unlimited.
   * Default: 2m.
   */
  readonly messageTimeout?: number | string | undefined;
  /** The most connections at once. Further ones get 503 with Retry-After. Default: from the descriptor limit. */
  readonly maxConnections?: number | undefined;
  /**
   * The most connections at once from one client address (IPv6: from one /64). Further ones get 503; 0 is unlimited.
   * Default: 0.
   */
  readonly maxConnectionsPerAddress?: number | undefined;
  /**
   * The most connections at once of one user on this node. A further one gets 503 if its token names the user,
   * otherwise it is closed with 1008; 0 is unlimited. Default: 0.
   */
  readonly maxConnectionsPerUser?: number | undefined;
  /**
   * The most messages per second from one connection; a burst may have twice as many. A connection above the limit
   * is closed with 1008; 0 is unlimited. Default: 0.
   */
  readonly messageRate?: number | undefined;
  /**
   * A silent connection is pinged after half of this time and closed after all of it; 0 turns this off. Default:
   * 30s.
   */
  readonly idleTimeout?: number | string | undefined;
  /** How long a connection may take to send its request before it is closed. Default: 10s. */
  readonly handshakeTimeout?: number | string | undefined;
  /** How long connections may stay open while the service stops; 0 closes them at once. Default: 10s. */
  readonly drainTimeout?: number | string | undefined;
  /** Require one of the shared secrets in this file, one per line; # begins a comment. */
  readonly authTokenFile?: string | undefined;
  /** Require a JWT signed with HS256 and the secret in this file (at least 32 bytes). */
  readonly jwtSecretFile?: string | undefined;
  /** Require a JWT that this public key (PEM) verifies: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA). */
  readonly jwtPublicKeyFile?: string | undefined;
  /** Require a JWT signed with a key of the key set at this https URL (RS256, ES256, EdDSA). */
  readonly jwksUrl?: string | undefined;
  /** The aud claim that a JWT must have. Without it, a token issued for another service is accepted too. */
  readonly jwtAudience?: string | undefined;
  /** The iss claim that a JWT must have. */
  readonly jwtIssuer?: string | undefined;
  /** Also accept the token as ?token=. Browser histories and proxy logs keep such URLs. Default: off. */
  readonly authQuery?: boolean | undefined;
  /**
   * Whether connections whose token or key was removed from its file are closed (with 3000) or kept. Default: close.
   */
  readonly revokedTokens?: "close" | "keep" | undefined;
  /**
   * Connect this node to the other nodes of the service: nats://HOST:PORT or redis://HOST:PORT; tls:// or rediss://
   * for TLS. Separate the members of a cluster with commas.
   */
  readonly broker?: string | undefined;
  /**
   * A file with the broker's credentials: USER:PASSWORD on one line, or a NATS .creds file. Other users of this
   * machine can read a URL on the command line, but not this file.
   */
  readonly brokerCredentialsFile?: string | undefined;
  /** The certificate authorities (PEM) that may have issued the broker's certificate. */
  readonly brokerCa?: string | undefined;
  /**
   * The prefix of the broker's subjects and channels. Services that share a broker need different prefixes. Default:
   * wss.
   */
  readonly brokerPrefix?: string | undefined;
  /** Start even if the broker cannot be reached, and connect as soon as it is reachable. Default: off. */
  readonly brokerOptional?: boolean | undefined;
  /**
   * Also listen on this address for the HTTP API, /metrics and /healthz, which are for backends and operators, not
   * for clients: 127.0.0.1:9100 or unix:/run/wss/admin.sock. A port alone means 127.0.0.1.
   */
  readonly admin?: string | undefined;
  /**
   * Keys for the HTTP API, one per line; # begins a comment. Without keys the API answers only on a unix socket.
   * /metrics and /healthz need no key.
   */
  readonly adminKeyFile?: string | undefined;
  /** Serve the admin listener over TLS with the service's certificate. Direct mode only. Default: off. */
  readonly adminTls?: boolean | undefined;
  /**
   * Permissions of the admin listener's unix socket, octal. Without keys, anyone who may write to the socket may use
   * the API. Default: 660.
   */
  readonly adminMode?: string | undefined;
  /** The format of log lines. Default: text if standard error is a terminal, otherwise json. */
  readonly logFormat?: "text" | "json" | undefined;
  /** Log when each connection opens and ends at level info; without this option, at level debug. Default: off. */
  readonly accessLog?: boolean | undefined;
  /** The least severe level that is logged. Default: info. */
  readonly logLevel?: "error" | "warn" | "info" | "debug" | undefined;
}
