/**
 * Which engine, where, and with what credentials: what `--broker` and `--broker-credentials-file` say.
 * @module
 */
import { UsageError } from "../../errors.ts";

/** The kinds of brokers. */
export type BrokerKind = "local" | "nats" | "redis";

const SCHEMES: Readonly<Record<string, { kind: BrokerKind; tls: boolean; port: number }>> = {
  "local:": { kind: "local", tls: false, port: 0 },
  "nats:": { kind: "nats", tls: false, port: 4222 },
  "tls:": { kind: "nats", tls: true, port: 4222 },
  "redis:": { kind: "redis", tls: false, port: 6379 },
  "rediss:": { kind: "redis", tls: true, port: 6379 },
};

/** One address of an engine. */
export interface BrokerServer {
  readonly hostname: string;
  readonly port: number;
}

/** What it is authenticated with. Never logged. */
export type Credentials =
  | { readonly user: string; readonly password: string }
  | { readonly token: string }
  | { readonly creds: string };

/** A broker as `--broker` names it. */
export interface BrokerTarget {
  readonly kind: BrokerKind;
  readonly tls: boolean;
  /** Several are members of one cluster; the first that answers is used. */
  readonly servers: readonly BrokerServer[];
  readonly credentials?: Credentials | undefined;
  /** The URL without credentials: for the log, and for messages. */
  readonly shown: string;
}

/**
 * Reads `--broker`: one URL, or several of the same kind with commas between them.
 * @throws {UsageError} which says what is required and what was given, without the password
 */
export function parseBroker(text: string): BrokerTarget {
  const targets = text.split(",").map((url) => parseOne(url.trim()));
  const [first] = targets as [BrokerTarget, ...BrokerTarget[]];
  if (targets.some(({ kind, tls }) => kind !== first.kind || tls !== first.tls)) {
    throw new UsageError("Cannot use several brokers: they are members of one cluster, so their URLs begin alike");
  }
  return {
    ...first,
    credentials: targets.find(({ credentials }) => credentials)?.credentials,
    servers: targets.flatMap(({ servers }) => servers),
    shown: targets.map(({ shown }) => shown).join(","),
  };
}

function parseOne(text: string): BrokerTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const scheme = url && SCHEMES[url.protocol];
  if (!url || !scheme) {
    const given = url ? `${url.protocol}//…` : text.includes("@") ? "something else" : `"${text}"`;
    throw new UsageError(
      `Cannot use a broker: a URL is required that begins with nats://, tls:// (NATS over TLS), redis:// or rediss:// ` +
        `(Redis over TLS), not ${given}`,
    );
  }
  const { kind, tls, port } = scheme;
  if (kind === "local") return { kind, tls, servers: [], shown: text };
  // Only http and https URLs have their hosts normalised, so brackets of IPv6 are still there.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (hostname === "") throw new UsageError(`Cannot use a broker: ${url.protocol}// is followed by no host name`);
  if (url.search !== "" || url.hash !== "" || !/^\/?$/.test(url.pathname)) {
    throw new UsageError(
      `Cannot use a broker: a URL of scheme, credentials, host and port is required, and after ${url.host} comes ` +
        `${url.pathname}${url.search}${url.hash}; services that share a broker differ by --broker-prefix`,
    );
  }
  const server = { hostname, port: url.port === "" ? port : Number(url.port) };
  return {
    kind,
    tls,
    servers: [server],
    credentials: credentialsOf(decodeURIComponent(url.username), decodeURIComponent(url.password), kind),
    shown: `${url.protocol}//${url.hostname}:${server.port}`,
  };
}

function credentialsOf(user: string, password: string, kind: BrokerKind): Credentials | undefined {
  if (user === "" && password === "") return undefined;
  // NATS: one word before the @ is a token. Redis: a password without a user is the default user's.
  if (password === "") return kind === "nats" ? { token: user } : { user: "default", password: user };
  return { user: user === "" ? "default" : user, password };
}

/**
 * Reads a credentials file: a NATS `.creds` file, or one line `USER:PASSWORD`, or one line with a token (NATS) or a
 * password (Redis).
 * @throws {UsageError} when there is no such line
 */
export function parseCredentials(text: string, kind: BrokerKind): Credentials {
  if (text.includes("BEGIN NATS USER JWT")) {
    if (kind === "nats") return { creds: text };
    throw new UsageError("Cannot use the broker's credentials: the file is one of NATS, and the broker is not");
  }
  const line = text.split(/\r?\n/).map((line) => line.trim()).find((line) => line !== "" && !line.startsWith("#"));
  if (line === undefined) {
    throw new UsageError(
      "Cannot use the broker's credentials: a line USER:PASSWORD is required, and the file has none",
    );
  }
  const colon = line.indexOf(":");
  return credentialsOf(colon < 0 ? line : line.slice(0, colon), colon < 0 ? "" : line.slice(colon + 1), kind)!;
}
