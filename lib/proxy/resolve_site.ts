/**
 * Resolves and validates the description of a site from the options of the service and of the command `proxy`.
 * @module
 */
import { isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { flagOf } from "../config/option_table.ts";
import { parsePath, pathExpression, PathSet } from "../config/path_pattern.ts";
import { selectMode } from "../config/service_mode.ts";
import { type ProxySettings, SITE_ONLY_OPTIONS } from "./proxy_options.ts";
import type { Generator, Site, Upstream } from "./site_description.ts";

/**
 * Resolves and validates the description of a site.
 * @param given the name of the flag, variable or file entry that set each setting
 * @throws {UsageError} with everything that is missing, invalid, or not supported by the proxy
 */
export function resolveSite(settings: ProxySettings, given: ReadonlyMap<string, string>, generator: Generator): Site {
  const problems: string[] = [];
  const [domainName] = settings.domain;
  const hasSiteFlag = SITE_ONLY_OPTIONS.concat("domain").some((key) => given.get(key) === flagOf(key));
  const scope = settings.site ?? hasSiteFlag ? "site" : "location";
  if (given.has("mode") && settings.mode === "direct") {
    problems.push(
      `${
        given.get("mode")
      } direct terminates TLS in the service: behind a proxy, use --mode proxied and give the certificate ` +
        `only to the proxy`,
    );
  }
  const domainSource = given.get("domain");
  if (domainName !== undefined && domainSource !== flagOf("domain")) {
    problems.push(
      `${domainSource} makes the service obtain a certificate: behind a proxy, use --mode proxied, give the certificate ` +
        `only to the proxy, and give the proxy's name with --domain`,
    );
  } else if (settings.domain.length > 1) {
    problems.push(`--domain: exactly one name is supported, not ${settings.domain.join(" and ")}`);
  }
  if (settings.clientAddressHeader === "forwarded") {
    problems.push(
      `${given.get("clientAddressHeader")} forwarded: the proxy removes Forwarded and sends the client's address in ` +
        `X-Real-IP and X-Forwarded-For; use auto, x-real-ip or x-forwarded-for`,
    );
  }
  if (scope === "location") {
    for (const key of SITE_ONLY_OPTIONS) {
      if (given.get(key) === flagOf(key)) {
        problems.push(`${flagOf(key)} is only for a whole server (--site), not for a location`);
      }
    }
  } else {
    if (domainName === undefined) problems.push("--domain is missing: the name that clients connect to");
    for (const key of generator.required) {
      if (settings[key] === undefined) problems.push(`--${key} is missing: ${MISSING_FILES[key]}`);
    }
    if (settings.cert === undefined && !generator.required.includes("cert")) {
      if (settings.key !== undefined) {
        problems.push(`${given.get("key")} requires --cert: a private key needs its certificate`);
      }
      if (settings.chain !== undefined) {
        problems.push(`${given.get("chain")} requires --cert: intermediates need their certificate`);
      }
    }
    for (const key of ["keyPassphrase", "keyPassphraseFile"] as const) {
      if (given.has(key)) problems.push(`${given.get(key)}: ${generator.title} requires a key that is not encrypted`);
    }
    if (settings.root !== undefined && settings.website !== undefined) {
      problems.push("--root and --website exclude each other: give one");
    }
  }

  const domain = domainName === undefined ? undefined : parseDomain(domainName, problems);
  const website = scope === "location"
    ? undefined
    : settings.root !== undefined
    ? { root: resolvePath("--root", settings.root, problems) }
    : settings.website !== undefined
    ? { server: parseUpstream("--website", settings.website, problems) }
    : undefined;
  const upstreams = resolveUpstreams(settings, given, problems);
  const file = (key: "cert" | "key" | "chain") =>
    settings[key] === undefined ? undefined : resolvePath(given.get(key) ?? flagOf(key), settings[key], problems);
  const cert = scope === "site" ? file("cert") : undefined;
  const certificate = cert === undefined ? undefined : { cert, key: file("key"), chain: file("chain") };
  const paths = validatePaths(settings, given, { website: website !== undefined, scope }, problems);

  const [path, ...otherPaths] = paths;
  const [upstream, ...otherUpstreams] = upstreams;
  if (problems.length > 0 || path === undefined || upstream === undefined) throw new UsageError(problems);
  const site: Site = {
    scope,
    domain,
    certificate,
    minTls: settings.minTls,
    listenPort: settings.listenPort,
    redirectPort: settings.redirectPort === 0 ? undefined : settings.redirectPort,
    website,
    paths: [path, ...otherPaths],
    upstreams: [upstream, ...otherUpstreams],
    pingInterval: Math.ceil(settings.idleTimeout / 2),
    idleTimeout: settings.idleTimeout === 0 ? 3600 : Math.ceil(settings.idleTimeout * 2 / 1000),
    headTimeout: Math.max(1, Math.ceil(settings.handshakeTimeout / 1000)),
    keepAlive: Math.max(1, Math.floor(settings.handshakeTimeout / 2000)),
    flags: serviceFlags(settings, given),
  };
  const refused = generator.problems(site);
  if (refused.length > 0) throw new UsageError(refused);
  return site;
}

const MISSING_FILES = {
  cert: "the proxy's certificate, PEM",
  key: "the certificate's private key, PEM",
} as const;

function parseDomain(text: string, problems: string[]): string {
  const ascii = /^[\p{L}\p{N}.-]+$/u.test(text) && URL.canParse(`http://${text}`)
    ? new URL(`http://${text}`).hostname
    : "";
  if (ascii.length > 253 || isIPv4(ascii) || !/^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!$)|$))+$/.test(ascii)) {
    problems.push(`--domain: must be one DNS name (ws.example.com), not ${JSON.stringify(text)}`);
  }
  return ascii;
}

function resolvePath(label: string, path: string, problems: string[]): string {
  // deno-lint-ignore no-control-regex -- a line break would end the directive
  if (/[\u0000-\u001f\u007f]/.test(path)) problems.push(`${label}: a path without control characters is required`);
  return resolve(path);
}

/** Parses `HOST:PORT`, `[IPV6]:PORT`, `unix:PATH` or a path. Adds a problem if the text is invalid. */
export function parseUpstream(label: string, text: string, problems: string[]): Upstream {
  const path = text.startsWith("unix:") ? text.slice(5) : /^[./]/.test(text) ? text : undefined;
  if (path !== undefined) {
    if (!/^[\w./@+-]+$/.test(path)) {
      problems.push(
        `${label}: a socket's path may contain only letters, digits and . _ / @ + -, not ${JSON.stringify(path)}`,
      );
    }
    return { transport: "unix", path: resolve(path) };
  }
  const match = /^(?:\[([^\]]*)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? 0);
  const host = match?.[1] ?? match?.[2] ?? "";
  if (port < 1 || port > 65_535 || (match?.[1] !== undefined && (!isIPv6(host) || host.includes("%")))) {
    problems.push(`${label}: must be HOST:PORT, [IPV6]:PORT or the path of a unix socket, not ${JSON.stringify(text)}`);
  }
  return { transport: "tcp", host, port };
}

const ADDRESS_OPTIONS = ["host", "port", "unix", "unixMode"];

function resolveUpstreams(settings: ProxySettings, given: ReadonlyMap<string, string>, problems: string[]): Upstream[] {
  const upstreams = settings.upstream ?? [];
  if (upstreams.length > 0) return upstreams.map((text) => parseUpstream("--upstream", text, problems));
  const addressNames = new Map([...given].filter(([key]) => ADDRESS_OPTIONS.includes(key)));
  const withoutTls = {
    ...settings,
    cert: undefined,
    key: undefined,
    chain: undefined,
    domain: [],
    mode: "proxied",
  } as const;
  try {
    const { address } = selectMode(withoutTls, addressNames);
    if (address.transport === "unix") {
      return [parseUpstream(given.get("unix") ?? "--unix", `unix:${address.path}`, problems)];
    }
    if (address.port === 0) {
      problems.push(`${given.get("port")} 0 selects another port at each start: give a fixed port, or --upstream`);
    }
    const host = address.hostname === "0.0.0.0" ? "127.0.0.1" : address.hostname === "::" ? "::1" : address.hostname;
    const shown = isIPv6(host) ? `[${host}]` : host;
    return [parseUpstream(given.get("host") ?? "--host", `${shown}:${address.port || 1}`, problems)];
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    problems.push(...error.problems);
    return [];
  }
}

function validatePaths(
  { path: paths }: ProxySettings,
  given: ReadonlyMap<string, string>,
  { website, scope }: { readonly website: boolean; readonly scope: "site" | "location" },
  problems: string[],
): string[] {
  const label = given.get("path") ?? "--path";
  for (const path of paths) {
    // Replaces the names and wildcards of a pattern by text that they match.
    const literal = path.replaceAll(/:[A-Za-z_]\w*|\*/g, "x");
    if (/[(){}\\]|[:*][+?*]|:\w+[+?*]/.test(path)) {
      problems.push(
        `${label}: in a pattern, a proxy supports only names (/rooms/:id) and wildcards (/rooms/*), not groups, regular ` +
          `expressions or modifiers: ${JSON.stringify(path)}`,
      );
    } else if (
      !/^\/(?:[A-Za-z0-9._~@+,=-]+(?:\/[A-Za-z0-9._~@+,=-]+)*\/?)?$/.test(literal) || /\/\.\.?(?:\/|$)/.test(literal)
    ) {
      problems.push(
        `${label}: a proxy matches the decoded path, so a path must begin with / and may contain only letters, digits and ` +
          `. _ ~ @ + , = -, and in a pattern :NAME and *, not ${JSON.stringify(path)}`,
      );
    } else if (pathExpression(path) === undefined) {
      problems.push(
        `${label}: in a pattern, a proxy requires text between two names or wildcards, not ${JSON.stringify(path)}`,
      );
    } else problems.push(...patternProblems(label, path));
  }
  if (paths.length === 0) problems.push(`${label}: at least one path is required`);
  const distinct = [...new Set(paths)];
  if (!given.has("path")) {
    // An existing server already has something at /.
    return website || scope === "location" ? distinct.filter((path) => path !== "/") : distinct;
  }
  if (website && problems.length === 0 && new PathSet(paths).has("/")) {
    problems.push(
      `${label} / conflicts with --root and --website, which serve the website at /: give --path /wss`,
    );
  }
  return distinct;
}

/** The reason for which the service would refuse a path. */
function patternProblems(label: string, path: string): string[] {
  try {
    parsePath(path);
    return [];
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return [`${label}: ${error.message}`];
  }
}

/** Returns the flags to start the service with: the given ones, and the mode. */
function serviceFlags(settings: ProxySettings, given: ReadonlyMap<string, string>): string[] {
  const flags = ["--mode proxied"];
  const usesServiceAddress = settings.upstream === undefined || settings.upstream.length === 0;
  if (usesServiceAddress && settings.unix !== undefined) flags.push(`--unix ${resolve(settings.unix)}`);
  else if (usesServiceAddress && given.has("host")) flags.push(`--host ${settings.host}`);
  if (usesServiceAddress && given.has("port")) flags.push(`--port ${settings.port}`);
  if (given.has("path")) {
    flags.push(...settings.path.map((path) => `--path ${path.includes("*") ? `'${path}'` : path}`));
  }
  if (given.has("minTls")) flags.push(`--min-tls ${settings.minTls}`);
  for (const key of ["idleTimeout", "handshakeTimeout"] as const) {
    if (given.has(key)) flags.push(`${flagOf(key)} ${settings[key]}ms`);
  }
  return flags;
}
