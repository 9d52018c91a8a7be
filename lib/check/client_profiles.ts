/**
 * What particular clients need on top: browsers and WeChat mini programs.
 * @module
 */
import type { Finding } from "../finding.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import type { Inspected } from "./probes/certificate_chain.ts";
import { finding } from "./finding_codes.ts";
import type { Version } from "./probes/client_hello.ts";
import type { Target } from "./check_target.ts";

/** Ports that browsers refuse to connect to (Fetch standard, "bad port"). */
const BAD_PORTS = new Set([
  ...[1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109],
  ...[110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530],
  ...[531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190],
  ...[5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080],
]);

/** Headers that the WebSocket of a page sends by itself. */
const PAGE_HEADERS = ["origin", "cookie", "user-agent", "host"];

function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || isLoopback(canonicalAddress(hostname) ?? "");
}

/** What a page in a browser needs. */
export function judgeForBrowser(target: Target): Finding[] {
  const findings: Finding[] = [];
  if (!target.secure && !isLocal(target.hostname)) {
    findings.push(finding(
      "browser-mixed-content",
      "error",
      "A page from https:// may not open ws:// to another machine: the browser blocks it as mixed content.",
      "Serve wss://: a certificate in the service, or a proxy with one in front.",
    ));
  }
  if (BAD_PORTS.has(target.port)) {
    findings.push(finding(
      "browser-port",
      "error",
      `Browsers refuse port ${target.port}: it belongs to another protocol.`,
      "Move the service to another port; 443 gets through every firewall.",
    ));
  }
  const extra = (target.options.headers ?? []).map(([name]) => name)
    .filter((name) => !PAGE_HEADERS.includes(name.toLowerCase()));
  if (extra.length > 0) {
    findings.push(finding(
      "browser-header",
      "note",
      `A page cannot set ${extra.join(", ")} on a WebSocket; this check did.`,
    ));
  }
  return findings;
}

/** What was learnt of a target before. */
export interface Learnt {
  readonly offered?: readonly Version[];
  readonly chain?: Inspected;
}

/** What a WeChat mini program needs (wx.connectSocket; "服务器域名配置" in its documentation). */
export function judgeForWechat(target: Target, learnt: Learnt): Finding[] {
  const findings: Finding[] = [];
  if (!target.secure) {
    findings.push(finding(
      "wechat-scheme",
      "error",
      "WeChat mini programs connect by wss:// only.",
      "Serve wss://: a certificate in the service, or a proxy with one in front.",
    ));
  }
  if (target.isAddress || isLocal(target.hostname)) {
    findings.push(finding(
      "wechat-domain",
      "error",
      `WeChat mini programs connect to domains of their list only, and ${target.hostname} cannot stand on it.`,
      "Use a domain with an ICP record; while developing, the developer tools can skip the check of domains.",
    ));
  }
  if (learnt.offered !== undefined && learnt.offered.length > 0 && !learnt.offered.includes("TLS 1.2")) {
    const remedy = "Turn TLS 1.2 on, beside 1.3.";
    findings.push(
      finding("wechat-tls", "error", "WeChat on older phones needs TLS 1.2, which is not offered.", remedy),
    );
  }
  findings.push(...judgeChainForWechat(learnt.chain));
  const port = target.url.port === ""
    ? "none, so the list must say none either, and the program may not write :443"
    : `${target.port}, so the list must say :${target.port}, and the program can then use no other`;
  findings.push(finding("wechat-port", "note", `The URL's port is ${port}. Port 443 gets through most networks.`));
  findings.push(finding(
    "wechat-list",
    "note",
    `wss://${target.url.host} has to be on the mini program's list of socket domains, and the domain needs an ICP record.`,
  ));
  return findings;
}

function judgeChainForWechat(chain: Inspected | undefined): Finding[] {
  if (chain?.findings.some(({ code }) => code === "chain-incomplete")) {
    return [finding(
      "wechat-chain",
      "error",
      "The chain lacks an intermediate certificate: WeChat on Android does not fetch it and fails.",
      "Serve the whole chain (fullchain.pem).",
    )];
  }
  if (chain?.isPublic === false) {
    return [finding(
      "wechat-authority",
      "error",
      "WeChat mini programs trust public authorities only, and none stands behind this certificate.",
      "Use a certificate from a public authority (Let's Encrypt is free).",
    )];
  }
  return [];
}
