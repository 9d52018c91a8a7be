/**
 * The URL: is it one that a WebSocket client takes, and what does it ask for?
 * @module
 */
import { isIP } from "node:net";
import type { Finding } from "../../finding.ts";
import { canonicalAddress, isLoopback } from "../../ip.ts";
import { finding } from "../finding_codes.ts";
import type { CheckOptions, Target } from "../check_target.ts";

/** Ports that usually speak plain HTTP, and those that speak TLS. */
const PLAIN_PORTS = [80, 8080];
const TLS_PORTS = [443, 8443];

/** Reads the URL. Without a target nothing further can be probed. */
export function probeUrl(options: CheckOptions): { readonly findings: readonly Finding[]; readonly target?: Target } {
  const text = options.url;
  let url: URL;
  const schemeless = /^[\w.-]+(:\d+)?(\/|$)/.test(text);
  try {
    if (schemeless) throw new TypeError();
    url = new URL(text);
  } catch {
    const remedy = schemeless ? `Write the scheme too: wss://${text}` : "Write it as wss://domain.com/path.";
    return { findings: [finding("url-invalid", "error", `"${text}" is not a URL.`, remedy)] };
  }
  if (url.protocol !== "ws:" && url.protocol !== "wss:") {
    const scheme = url.protocol === "http:" ? "ws" : "wss";
    const rest = /^https?:$/.test(url.protocol)
      ? text.slice(text.indexOf(":") + 1)
      : `//${text.replace(/^\w+:\/*/, "")}`;
    const fact = `The scheme is ${url.protocol}//, and WebSocket is wss:// or, without TLS, ws://.`;
    return { findings: [finding("url-scheme", "error", fact, `Write ${scheme}:${rest}`)] };
  }

  const secure = url.protocol === "wss:";
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const port = url.port === "" ? (secure ? 443 : 80) : Number(url.port);
  const isAddress = isIP(hostname) !== 0;
  const findings: Finding[] = [];
  if (port === 0) {
    findings.push(
      finding("url-port", "error", "Port 0 cannot be connected to.", "Give the port that is listened on."),
    );
    return { findings };
  }
  if (url.username !== "" || url.password !== "") {
    findings.push(finding(
      "url-credentials",
      "warning",
      "The URL carries a user name or password: some clients refuse it, others drop it, and it ends up in logs.",
      "Leave it out; send a token in the first message, or a cookie.",
    ));
  }
  if (url.hash !== "" || text.includes("#")) {
    findings.push(finding(
      "url-fragment",
      "warning",
      `The URL ends in #${url.hash.slice(1)}: it never reaches the server, and older clients refuse the whole URL.`,
      "Leave the # and what follows out, or write it as %23.",
    ));
  }
  if ((secure && PLAIN_PORTS.includes(port)) || (!secure && TLS_PORTS.includes(port))) {
    findings.push(finding(
      "url-port",
      "note",
      `Port ${port} usually speaks ${secure ? "plain HTTP" : "TLS"}, and the URL asks for ${url.protocol}//.`,
    ));
  }
  const address = isAddress ? canonicalAddress(hostname) : undefined;
  if (address === "0.0.0.0" || address === "::") {
    findings.push(finding(
      "url-unspecified",
      "warning",
      `The URL names ${hostname}, an address to listen on: Linux and macOS connect to themselves then, Windows to ` +
        "nothing, and browsers refuse it.",
      "Write the machine's name or address, or localhost.",
    ));
  } else if (address !== undefined && secure && !isLoopback(address)) {
    findings.push(finding(
      "url-ip",
      "note",
      "The URL names an IP address: certificates and WeChat want a domain.",
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
