/**
 * Parses `--broker` and `--broker-credentials-file`: the kind of broker, its servers and the credentials.
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

/** What to do about credentials that make a URL invalid. */
const ENCODING = "special characters of a password must be percent-encoded in a URL (% as %25, / as %2F, @ as %40, " +
  "a comma as %2C), or use --broker-credentials-file";

/** The address of one server. */
export interface BrokerServer {
  readonly hostname: string;
  readonly port: number;
}

/** Returns HOST:PORT; an IPv6 address is enclosed in brackets. */
export function hostAndPort({ hostname, port }: BrokerServer): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** The credentials for a broker. Never logged. */
export type Credentials =
  | { readonly user: string; readonly password: string }
  | { readonly token: string }
  | { readonly creds: string };

/** A broker as `--broker` names it. */
export interface BrokerTarget {
  readonly kind: BrokerKind;
  readonly tls: boolean;
  /** Several servers are members of one cluster; one that answers is used. */
  readonly servers: readonly BrokerServer[];
  readonly credentials?: Credentials | undefined;
  /** The URL without credentials, for the log and messages. */
  readonly shown: string;
}

/**
 * Parses `--broker`: one URL, or several of the same kind separated by commas.
 * @throws {UsageError} whose message says what is required and what was given, without the password
 */
export function parseBroker(text: string): BrokerTarget {
  // A password that is not percent-encoded may extend over any part of the text.
  const secret = text.includes("@");
  const targets = text.split(",").map((url) => parseOne(url.trim(), secret));
  const [first] = targets as [BrokerTarget, ...BrokerTarget[]];
  if (targets.some(({ kind, tls }) => kind !== first.kind || tls !== first.tls)) {
    throw new UsageError(
      "Cannot use several brokers: members of one cluster are required, so all URLs must have the same scheme",
    );
  }
  return {
    ...first,
    credentials: targets.find(({ credentials }) => credentials)?.credentials,
    servers: targets.flatMap(({ servers }) => servers),
    shown: targets.map(({ shown }) => shown).join(","),
  };
}

/** @param secret whether the text may contain a password, so that messages must not quote it */
function parseOne(text: string, secret: boolean): BrokerTarget {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  const scheme = url && SCHEMES[url.protocol];
  if (!url || !scheme) {
    if (secret && SCHEMES[`${/^[a-z]+:/.exec(text)}`]) throw new UsageError(`Cannot use the broker: ${ENCODING}`);
    const given = url ? `${url.protocol}//…` : secret ? "something else" : `"${text}"`;
    throw new UsageError(
      `Cannot use the broker: a URL that begins with nats://, tls:// (NATS over TLS), redis:// or rediss:// ` +
        `(Redis over TLS) is required, not ${given}`,
    );
  }
  const { kind, tls, port } = scheme;
  if (kind === "local") return { kind, tls, servers: [], shown: text };
  // URL keeps the brackets of an IPv6 address.
  const hostname = url.hostname.replace(/^\[(.*)\]$/, "$1");
  if (hostname === "") throw new UsageError(`Cannot use the broker: a host name is required after ${url.protocol}//`);
  if (url.search !== "" || url.hash !== "" || !/^\/?$/.test(url.pathname)) {
    const excess = secret ? "" : `, but ${url.host} is followed by ${url.pathname}${url.search}${url.hash}`;
    throw new UsageError(
      `Cannot use the broker: a URL of only scheme, credentials, host and port is required${excess}; ` +
        `use --broker-prefix to separate services that share a broker${secret ? `; ${ENCODING}` : ""}`,
    );
  }
  const server = { hostname, port: url.port === "" ? port : Number(url.port) };
  return {
    kind,
    tls,
    servers: [server],
    credentials: credentialsOf(decode(url.username), decode(url.password), kind),
    shown: `${url.protocol}//${url.hostname}:${server.port}`,
  };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UsageError(`Cannot use the broker: ${ENCODING}`);
  }
}

function credentialsOf(user: string, password: string, kind: BrokerKind): Credentials | undefined {
  if (user === "" && password === "") return undefined;
  // NATS: a single word before the @ is a token. Redis: a single word is the password of the default user.
  if (password === "") return kind === "nats" ? { token: user } : { user: "default", password: user };
  return { user: user === "" ? "default" : user, password };
}

/**
 * Parses a credentials file: a NATS `.creds` file, a line `USER:PASSWORD`, or a line with a token (NATS) or a password
 * (Redis).
 * @throws {UsageError} if the file has no such line
 */
export function parseCredentials(text: string, kind: BrokerKind): Credentials {
  if (text.includes("BEGIN NATS USER JWT")) {
    if (kind === "nats") return { creds: text };
    throw new UsageError(
      "Cannot use the broker's credentials: the file is a NATS credentials file, but the broker is not NATS",
    );
  }
  const line = text.split(/\r?\n/).map((line) => line.trim()).find((line) => line !== "" && !line.startsWith("#"));
  if (line === undefined) {
    throw new UsageError(
      "Cannot use the broker's credentials: a line USER:PASSWORD is required, but the file has none",
    );
  }
  const colon = line.indexOf(":");
  return credentialsOf(colon < 0 ? line : line.slice(0, colon), colon < 0 ? "" : line.slice(colon + 1), kind)!;
}
