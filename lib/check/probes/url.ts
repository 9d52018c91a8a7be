/**
 * Validates and parses the URL.
 * @module
 */
import { isIP } from "node:net";
import type { Finding } from "../../diagnostic_finding.ts";
import { canonicalAddress, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import type { CheckOptions } from "../check_options.ts";
import type { Target } from "../probe_target.ts";

/** Ports that by convention serve plain HTTP, and ports that serve TLS. */
const PLAIN_PORTS = [80, 8080];
const TLS_PORTS = [443, 8443];

/** Validates and parses the URL. `target` is missing if no further probe is possible. */
export function probeUrl(options: CheckOptions): { readonly findings: readonly Finding[]; readonly target?: Target } {
  const text = options.url;
  let url: URL;
  const schemeless = /^[\w.-]+(:\d+)?(\/|$)/.test(text);
  try {
    if (schemeless) throw new TypeError();
    url = new URL(text);
  } catch {
    const remedy = schemeless ? `Add the scheme: wss://${text}` : "Write it as wss://domain.com/path.";
    return { findings: [finding("url-invalid", "error", `"${text}" is not a URL.`, remedy)] };
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    const scheme = url.protocol === "http:" ? "ws" : "wss";
    const rest = /^https?:$/.test(url.protocol)
      ? text.slice(text.indexOf(":") + 1)
      : `//${text.replace(/^\w+:\/*/, "")}`;
    const fact = `The scheme is ${url.protocol}//. A WebSocket URL begins with wss:// or, without TLS, ws://.`;
    return { findings: [finding("url-scheme", "error", fact, `Write ${scheme}:${rest}`)] };
  }

  const secure = url.protocol === "wss:";
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  const isAddress = isIP(hostname) !== 0;
  const findings: Finding[] = [];
  if (port === 0) {
    findings.push(
      finding("url-port", "error", "Clients cannot connect to port 0.", "Use the port of the service."),
    );
    return { findings };
  }
  if (url.username !== "" || url.password !== "") {
    findings.push(finding(
      "url-credentials",
      "warning",
      "The URL contains a user name or password: some clients refuse the URL, others ignore them, and they appear in logs.",
      "Remove them. Send a token in the first message, or a cookie.",
    ));
  }
  if (url.hash !== "" || text.includes("#")) {
    findings.push(finding(
      "url-fragment",
      "warning",
      `The URL ends in #${
        url.hash.slice(1)
      }. A fragment never reaches the server, and older clients refuse such a URL.`,
      "Remove the # and what follows, or write the # as %23.",
    ));
  }
  if ((secure && PLAIN_PORTS.includes(port)) || (!secure && TLS_PORTS.includes(port))) {
    findings.push(finding(
      "url-port",
      "note",
      `Port ${port} usually serves ${secure ? "plain HTTP" : "TLS"}, but the URL's scheme is ${url.protocol}//.`,
    ));
  }
  const address = isAddress ? canonicalAddress(hostname) : undefined;
  if (address === "0.0.0.0" || address === "::") {
    findings.push(finding(
      "url-unspecified",
      "warning",
      `The URL contains ${hostname}, which is an address to listen on. Linux and macOS connect to themselves, Windows ` +
        "fails, and browsers refuse it.",
      "Use the machine's name or address, or localhost.",
    ));
  } else if (address !== undefined && secure && !isLoopback(address)) {
    findings.push(finding(
      "url-ip",
      "note",
      "The URL contains an IP address. Most certificates are for domains, and WeChat requires a domain.",
      "Use the domain that the certificate is for.",
    ));
  }
  if (findings.length === 0) {
    findings.push(
      finding("url-ok", "ok", `${secure ? "wss" : "ws"}, host ${hostname}, port ${port}, path ${url.pathname}`),
    );
  }
  const target: Target = {
    url,
    secure,
    hostname,
    port,
    isAddress,
    name: options.sni ?? hostname,
    endpoint: options.connectTo ?? { hostname, port },
    options,
  };
  return { findings, target };
}
