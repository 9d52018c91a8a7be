/**
 * What particular clients need on top: browsers, WeChat mini programs, Android, Java, Node.js and Python.
 * @module
 */
import type { Finding } from "../finding.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import { EXTENSION, fieldsOf, titleOf } from "../tls/x509/certificate_fields.ts";
import { isSelfIssued } from "../tls/x509/find_issuer.ts";
import type { CheckOptions, ClientName, Evidence, Target } from "./check_target.ts";
import { type Code, finding, type Observation } from "./finding_codes.ts";

/** Ports that browsers refuse to connect to (Fetch standard, "bad port"). */
const BAD_PORTS = new Set([
  ...[0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109],
  ...[110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530],
  ...[531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190],
  ...[5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080],
]);

/** Headers that the WebSocket of a page sends by itself. */
const PAGE_HEADERS = ["origin", "cookie", "user-agent", "host"];

/** How a profile's rules see the check. */
interface Checked {
  readonly target: Target;
  readonly evidence: Evidence;
  /** Whether a code was reported as a warning or an error. */
  readonly has: (code: Code) => boolean;
}

const PROFILES: Readonly<Record<ClientName, (checked: Checked) => Finding[]>> = {
  browser: judgeForBrowser,
  wechat: judgeForWechat,
  android: judgeForAndroid,
  java: judgeForJava,
  nodejs: (checked) => [
    ...judgeTrust(checked, "nodejs-chain", "nodejs-authority", "Node.js", {
      stays: "the authorities that come with it",
      remedy: "Start Node with NODE_EXTRA_CA_CERTS=ca.pem, or give the client the option ca.",
    }),
  ],
  python: judgeForPython,
};

/** What the client needs on top of what every client needs. */
export function judgeForClient(
  client: ClientName,
  target: Target,
  evidence: Evidence,
  observations: readonly Observation[],
): Finding[] {
  const bad = new Set(
    observations.filter(({ level }) => level === "warning" || level === "error").map(({ code }) => code),
  );
  return PROFILES[client]({ target, evidence, has: (code) => bad.has(code) });
}

/** The Origin that the client sends by itself. A page always sends one; by default its site is the endpoint's own. */
export function originFor({ for: client, url }: CheckOptions): string | undefined {
  if (client !== "browser" || !URL.canParse(url)) return undefined;
  const { protocol, host } = new URL(url);
  return `${protocol === "ws:" ? "http" : "https"}://${host}`;
}

function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || isLoopback(canonicalAddress(hostname) ?? "");
}

const SERVE_TLS = "Serve wss://: a certificate in the service, or a proxy with one in front.";
const PUBLIC_AUTHORITY = "Use a certificate from a public authority (Let's Encrypt is free).";
const WHOLE_CHAIN = "Serve the whole chain (fullchain.pem).";

function judgeForBrowser({ target, has }: Checked): Finding[] {
  const findings: Finding[] = [];
  if (!target.secure && !isLocal(target.hostname)) {
    findings.push(finding(
      "browser-mixed-content",
      "error",
      "A page from https:// may not open ws:// to another machine: the browser blocks it as mixed content.",
      SERVE_TLS,
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
  findings.push(...judgeCertificate("browser-certificate", "Browsers refuse", has));
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

/** Certificates that some clients take and this one does not. */
function judgeCertificate(code: Code, who: string, has: Checked["has"]): Finding[] {
  const reasons: [Code, string][] = [
    ["usage-no-signature", "its key usage forbids signatures"],
    ["key-unusual", "its key is of a kind that they do not know"],
    ["signature-sha1", "it is signed with SHA-1"],
    ["signature-md5", "it is signed with MD5"],
  ];
  const found = reasons.filter(([reason]) => has(reason)).map(([, text]) => text);
  if (found.length === 0) return [];
  return [finding(
    code,
    "error",
    `${who} this certificate, though other clients take it: ${found.join(", ")}.`,
    "Have a certificate issued for a key of EC P-256 or RSA 2048, with SHA-256 and the key usage digitalSignature.",
  )];
}

/** What a WeChat mini program needs (wx.connectSocket; "服务器域名配置" in its documentation). */
function judgeForWechat(checked: Checked): Finding[] {
  const { target, evidence } = checked;
  const findings: Finding[] = [];
  if (!target.secure) {
    findings.push(finding("wechat-scheme", "error", "WeChat mini programs connect by wss:// only.", SERVE_TLS));
  }
  if (target.isAddress || isLocal(target.hostname)) {
    findings.push(finding(
      "wechat-domain",
      "error",
      `WeChat mini programs connect to domains of their list only, and ${target.hostname} cannot stand on it.`,
      "Use a domain with an ICP record; while developing, the developer tools can skip the check of domains.",
    ));
  }
  findings.push(
    ...judgeOldTls("wechat-tls", "error", "WeChat on older phones needs TLS 1.2, which is not offered.", evidence),
  );
  if (checked.has("chain-incomplete")) {
    findings.push(finding(
      "wechat-chain",
      "error",
      "The chain lacks an intermediate certificate: WeChat on Android does not fetch it and fails.",
      WHOLE_CHAIN,
    ));
  } else if (evidence.chain?.isPublic === false) {
    findings.push(finding(
      "wechat-authority",
      "error",
      "WeChat mini programs trust public authorities only, and none stands behind this certificate.",
      PUBLIC_AUTHORITY,
    ));
  }
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

function judgeOldTls(code: Code, level: "error" | "warning", fact: string, { versions = [] }: Evidence): Finding[] {
  if (versions.length === 0 || versions.includes("TLS 1.2")) return [];
  return [finding(code, level, fact, "Turn TLS 1.2 on, beside 1.3.")];
}

/** Missing intermediates and private authorities, for clients that fetch nothing and have a trust store of their own. */
function judgeTrust(
  { target, evidence, has }: Checked,
  chainCode: Code,
  authorityCode: Code,
  who: string,
  { stays, remedy }: { readonly stays: string; readonly remedy: string },
): Finding[] {
  if (has("chain-incomplete")) {
    return [finding(
      chainCode,
      "error",
      `The chain lacks an intermediate certificate, and ${who} does not fetch it.`,
      WHOLE_CHAIN,
    )];
  }
  if (!target.secure || evidence.chain?.isPublic !== false) return [];
  return [finding(
    authorityCode,
    target.options.ca === undefined ? "warning" : "note",
    `No public authority stands behind the certificate, and ${who} trusts ${stays} only.`,
    remedy,
  )];
}

/** Android's defaults for apps since API level 28 (Android 9): network security configuration. */
function judgeForAndroid(checked: Checked): Finding[] {
  const { target, evidence, has } = checked;
  const findings: Finding[] = [];
  if (!target.secure) {
    findings.push(finding(
      "android-cleartext",
      "error",
      "Android apps may not open ws://: traffic in clear text is forbidden by default since Android 9.",
      `${SERVE_TLS} While developing: android:usesCleartextTraffic, or a network security configuration for this host.`,
    ));
  }
  findings.push(...judgeTrust(checked, "android-chain", "android-authority", "Android", {
    stays: "the system's authorities (since Android 7 not even those that the user adds)",
    remedy: `${PUBLIC_AUTHORITY} Or name the authority in the app's network security configuration (trust-anchors).`,
  }));
  const fact = "Android before 10 knows no TLS 1.3, and TLS 1.2 is not offered.";
  findings.push(...judgeOldTls("android-tls", "warning", fact, evidence));
  findings.push(...judgeCertificate("android-certificate", "Android's apps refuse", has));
  return findings;
}

function judgeForJava(checked: Checked): Finding[] {
  const findings: Finding[] = [];
  if (checked.evidence.contentLengthRefused === true) {
    findings.push(finding(
      "java-content-length",
      "error",
      "Java's own client (java.net.http.WebSocket of Java 17) sends Content-Length: 0, and the server refuses that.",
      'Put a proxy in front that removes the header (nginx: proxy_set_header Content-Length ""), or use another client ' +
        "library (OkHttp, Tyrus, Java-WebSocket).",
    ));
  }
  findings.push(...judgeTrust(checked, "java-chain", "java-authority", "Java", {
    stays: "the authorities of its own trust store (cacerts), not the system's,",
    remedy: "Import the authority: keytool -importcert -cacerts -file ca.pem, or give the client an SSLContext.",
  }));
  const fact = "Java 8 before update 261 knows no TLS 1.3, and TLS 1.2 is not offered.";
  findings.push(...judgeOldTls("java-tls", "warning", fact, checked.evidence));
  return findings;
}

function judgeForPython(checked: Checked): Finding[] {
  const { evidence } = checked;
  const findings = judgeTrust(checked, "python-chain", "python-authority", "Python", {
    stays: "the authorities of the system or of certifi",
    remedy: 'Give the client a context: ssl.create_default_context(cafile="ca.pem"), or set SSL_CERT_FILE=ca.pem.',
  });
  const lax = (evidence.chain?.certificates ?? []).flatMap((one, at) => strictProblems(one, at));
  if (lax.length > 0) {
    findings.push(finding(
      "python-strict",
      "warning",
      `Python 3.13 and later verify strictly as RFC 5280 has it, and refuse this chain: ${lax.join("; ")}.`,
      "Have the certificates issued with these extensions; a client can do without: context.verify_flags &= " +
        "~ssl.VERIFY_X509_STRICT.",
    ));
  }
  if (evidence.pingUnanswered === true) {
    findings.push(finding(
      "python-ping",
      "error",
      "Python's websockets sends a ping every 20 s and closes with 1011 when no pong comes: the connection will not last.",
      "Let the service answer pings; a client can do without them: ping_interval=None.",
    ));
  }
  return findings;
}

/** What OpenSSL's X509_V_FLAG_X509_STRICT asks of extensions (RFC 5280 section 4.2.1). */
function strictProblems(certificate: NonNullable<Evidence["chain"]>["certificates"][number], at: number): string[] {
  const extensions = fieldsOf(certificate)?.extensions;
  if (extensions === undefined) return [];
  const problems: string[] = [];
  const lacks = (id: string, name: string) =>
    extensions.has(id) || problems.push(`${titleOf(certificate)} has no ${name}`);
  if (!isSelfIssued(certificate)) lacks(EXTENSION.authorityKeyId, "authority key identifier");
  if (at > 0 && certificate.ca) {
    lacks(EXTENSION.subjectKeyId, "subject key identifier");
    lacks(EXTENSION.keyUsage, "key usage");
  }
  return problems;
}
