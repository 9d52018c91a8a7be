/**
 * Makes and checks the description of a site from the options of the service and of the command.
 * @module
 */
import { isIPv4, isIPv6 } from "node:net";
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { flagOf } from "../config/option_table.ts";
import { PathSet } from "../config/path_pattern.ts";
import { selectMode } from "../config/service_mode.ts";
import { type ProxySettings, SITE_ONLY } from "./proxy_options.ts";
import type { Generator, Site, Upstream } from "./site_description.ts";

/**
 * Makes the description.
 * @param given the names under which settings were given
 * @throws {UsageError} with everything that is missing, wrong, or not supported by the proxy
 */
export function collectSite(settings: ProxySettings, given: ReadonlyMap<string, string>, generator: Generator): Site {
  const problems: string[] = [];
  const [named] = settings.domain;
  const asked = SITE_ONLY.concat("domain").some((key) => given.get(key) === flagOf(key));
  const scope = settings.site ?? asked ? "site" : "location";
  if (given.has("mode") && settings.mode === "direct") {
    problems.push(
      `${given.get("mode")} direct terminates TLS in the service itself: behind a proxy it is --mode proxied, ` +
        `with the certificate at the proxy only`,
    );
  }
  const obtained = given.get("domain");
  if (obtained !== undefined && obtained !== flagOf("domain")) {
    problems.push(
      `${obtained} has the service obtain its certificate: behind a proxy it is --mode proxied, with the certificate at ` +
        `the proxy only; the proxy's name is given with --domain`,
    );
  } else if (settings.domain.length > 1) {
    problems.push(`--domain: one server has one name here, not ${settings.domain.join(" and ")}`);
  }
  if (settings.clientAddressHeader === "forwarded") {
    problems.push(
      `${given.get("clientAddressHeader")} forwarded: the proxy is set to remove Forwarded and to name the client in ` +
        `X-Real-IP and X-Forwarded-For; use auto, x-real-ip or x-forwarded-for`,
    );
  }
  if (scope === "location") {
    for (const key of SITE_ONLY) {
      if (given.get(key) === flagOf(key)) {
        problems.push(`${flagOf(key)} is for the whole server (--site): the location has no TLS of its own`);
      }
    }
  } else {
    if (named === undefined) problems.push("--domain is missing: the name that clients connect to");
    for (const key of generator.needs) {
      if (settings[key] === undefined) problems.push(`--${key} is missing: ${MISSING[key]}`);
    }
    if ((settings.cert === undefined) && settings.key !== undefined && !generator.needs.includes("cert")) {
      problems.push(`${given.get("key")} requires --cert: a private key needs its certificate`);
    }
    for (const key of ["keyPassphrase", "keyPassphraseFile"] as const) {
      if (given.has(key)) problems.push(`${given.get(key)}: ${generator.title} needs a key that is not encrypted`);
    }
    if (settings.root !== undefined && settings.website !== undefined) problems.push("choose one: --root or --website");
  }

  const domain = named === undefined ? undefined : checkDomain(named, problems);
  const website = scope === "location"
    ? undefined
    : settings.root !== undefined
    ? { root: checkFile("--root", settings.root, problems) }
    : settings.website !== undefined
    ? { server: parseUpstream("--website", settings.website, problems) }
    : undefined;
  const upstreams = gatherUpstreams(settings, given, problems);
  const file = (key: "cert" | "key" | "chain") =>
    settings[key] === undefined ? undefined : checkFile(given.get(key) ?? flagOf(key), settings[key], problems);
  const cert = scope === "site" ? file("cert") : undefined;
  const certificate = cert === undefined ? undefined : { cert, key: file("key"), chain: file("chain") };
  const paths = gatherPaths(settings, given, { website: website !== undefined, scope }, problems);

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
    quietTimeout: settings.idleTimeout === 0 ? 3600 : Math.ceil(settings.idleTimeout * 2 / 1000),
    headTimeout: Math.max(1, Math.ceil(settings.handshakeTimeout / 1000)),
    keepAlive: Math.max(1, Math.floor(settings.handshakeTimeout / 2000)),
    flags: serviceFlags(settings, given),
  };
  const refused = generator.problems(site);
  if (refused.length > 0) throw new UsageError(refused);
  return site;
}

const MISSING = {
  cert: "the proxy's certificate, PEM",
  key: "the certificate's private key, PEM",
} as const;

function checkDomain(text: string, problems: string[]): string {
  const ascii = /^[\p{L}\p{N}.-]+$/u.test(text) && URL.canParse(`http://${text}`)
    ? new URL(`http://${text}`).hostname
    : "";
  if (ascii.length > 253 || isIPv4(ascii) || !/^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.(?!$)|$))+$/.test(ascii)) {
    problems.push(`--domain: must be one DNS name (ws.example.com), not ${JSON.stringify(text)}`);
  }
  return ascii;
}

function checkFile(label: string, path: string, problems: string[]): string {
  // deno-lint-ignore no-control-regex -- a line break would end the directive
  if (/[\u0000-\u001f\u007f]/.test(path)) problems.push(`${label}: a path without control characters is needed`);
  return resolve(path);
}

/** Parses `HOST:PORT`, `[v6]:PORT`, `unix:PATH` or a path. */
export function parseUpstream(label: string, text: string, problems: string[]): Upstream {
  const path = text.startsWith("unix:") ? text.slice(5) : /^[./]/.test(text) ? text : undefined;
  if (path !== undefined) {
    if (!/^[\w./@+-]+$/.test(path)) {
      problems.push(`${label}: a socket's path is letters, digits and . _ / @ + - here, not ${JSON.stringify(path)}`);
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

function gatherUpstreams(settings: ProxySettings, given: ReadonlyMap<string, string>, problems: string[]): Upstream[] {
  const named = settings.upstream ?? [];
  if (named.length > 0) return named.map((text) => parseUpstream("--upstream", text, problems));
  const names = new Map([...given].filter(([key]) => key === "host" || key === "port" || key === "unix"));
  const bare = { ...settings, cert: undefined, key: undefined, chain: undefined, domain: [], mode: "proxied" } as const;
  try {
    const { address } = selectMode(bare, names);
    if (address.transport === "unix") {
      return [parseUpstream(given.get("unix") ?? "--unix", `unix:${address.path}`, problems)];
    }
    if (address.port === 0) {
      problems.push(`${given.get("port")} 0 is another port at each start: give one, or --upstream`);
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

function gatherPaths(
  { path: paths }: ProxySettings,
  given: ReadonlyMap<string, string>,
  { website, scope }: { readonly website: boolean; readonly scope: "site" | "location" },
  problems: string[],
): string[] {
  const label = given.get("path") ?? "--path";
  for (const path of paths) {
    // Names and wildcards of a pattern match one segment or more.
    const literal = path.replaceAll(/:[A-Za-z_]\w*|\*/g, "x");
    if (/[(){}\\]|[:*][+?*]|:\w+[+?*]/.test(path)) {
      problems.push(
        `${label}: of a pattern a proxy takes names (/rooms/:id) and wildcards (/rooms/*), no groups, expressions or ` +
          `modifiers, not ${JSON.stringify(path)}`,
      );
    } else if (
      !/^\/(?:[A-Za-z0-9._~@+,=-]+(?:\/[A-Za-z0-9._~@+,=-]+)*\/?)?$/.test(literal) || /\/\.\.?(?:\/|$)/.test(literal)
    ) {
      problems.push(
        `${label}: a proxy matches a path after decoding it, so it begins with / and is made of letters, digits and ` +
          `. _ ~ @ + , = - here, and of :NAME and * in a pattern, not ${JSON.stringify(path)}`,
      );
    }
  }
  if (paths.length === 0) problems.push(`${label}: the service needs a path`);
  const distinct = [...new Set(paths)];
  if (!given.has("path")) {
    // An existing server already has something at /.
    return website || scope === "location" ? distinct.filter((path) => path !== "/") : distinct;
  }
  if (website && problems.length === 0 && new PathSet(paths).has("/")) {
    problems.push(
      `choose one: ${label} / is the service, --root and --website put the website there; give --path /wss`,
    );
  }
  return distinct;
}

/** The flags with which to start the service for this configuration: those that were given, and the mode. */
function serviceFlags(settings: ProxySettings, given: ReadonlyMap<string, string>): string[] {
  const flags = ["--mode proxied"];
  const own = settings.upstream === undefined || settings.upstream.length === 0;
  if (own && settings.unix !== undefined) flags.push(`--unix ${resolve(settings.unix)}`);
  else if (own && given.has("host")) flags.push(`--host ${settings.host}`);
  if (own && given.has("port")) flags.push(`--port ${settings.port}`);
  if (given.has("path")) {
    flags.push(...settings.path.map((path) => `--path ${path.includes("*") ? `'${path}'` : path}`));
  }
  if (given.has("minTls")) flags.push(`--min-tls ${settings.minTls}`);
  for (const key of ["idleTimeout", "handshakeTimeout"] as const) {
    if (given.has(key)) flags.push(`${flagOf(key)} ${settings[key]}ms`);
  }
  return flags;
}
