/**
 * Requirements of particular clients: browsers, WeChat mini programs, Android, Java, Node.js and Python.
 * @module
 */
import type { Finding } from "../diagnostic_finding.ts";
import { canonicalAddress, isLoopback } from "../ip.ts";
import { certificateTitle, EXTENSION, readFields } from "../tls/x509/certificate_fields.ts";
import { isSelfIssued } from "../tls/x509/find_issuer.ts";
import type { CheckOptions, ClientName } from "./check_options.ts";
import type { Evidence, Target } from "./probe_target.ts";
import { type Code, finding, type Observation } from "./finding_codes.ts";

/** Ports that browsers refuse to connect to (Fetch standard, "bad port"). */
const BAD_PORTS = new Set([
  ...[0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104, 109],
  ...[110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515, 526, 530],
  ...[531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049, 3659, 4045, 4190],
  ...[5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080],
]);

/** Headers that a browser sends on a WebSocket of a page. */
const BROWSER_HEADERS = ["origin", "cookie", "user-agent", "host"];

/** The input of a profile's rules. */
interface ProfileInput {
  readonly target: Target;
  readonly evidence: Evidence;
  /** Whether a finding with this code is a warning or an error. */
  readonly has: (code: Code) => boolean;
}

const PROFILES: Readonly<Record<ClientName, (input: ProfileInput) => Finding[]>> = {
  browser: checkForBrowser,
  wechat: checkForWechat,
  android: checkForAndroid,
  java: checkForJava,
  nodejs: (input) => [
    ...checkTrust(input, "nodejs-chain", "nodejs-authority", "Node.js", {
      trusted: "the authorities that it ships with",
      remedy: "Start Node.js with NODE_EXTRA_CA_CERTS=ca.pem, or set the client's option ca.",
    }),
  ],
  python: checkForPython,
};

/** Reports requirements of one client that the endpoint does not meet, beyond those of every client. */
export function checkClientProfile(
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

/** The Origin that the client sends by default. A page always sends one; it is assumed to be on the endpoint's own host. */
export function defaultOrigin({ for: client, url }: CheckOptions): string | undefined {
  if (client !== "browser" || !URL.canParse(url)) return undefined;
  const { protocol, host } = new URL(url);
  return `${protocol === "ws:" ? "http" : "https"}://${host}`;
}

function isLocal(hostname: string): boolean {
  return hostname === "localhost" || hostname.endsWith(".localhost") || isLoopback(canonicalAddress(hostname) ?? "");
}

const SERVE_TLS = "Serve wss://: give the service a certificate, or put a proxy with a certificate in front of it.";
const PUBLIC_AUTHORITY = "Use a certificate from a public authority (Let's Encrypt is free).";
const SERVE_COMPLETE_CHAIN = "Serve the complete chain (fullchain.pem).";

function checkForBrowser({ target, has }: ProfileInput): Finding[] {
  const findings: Finding[] = [];
  if (!target.secure && !isLocal(target.hostname)) {
    findings.push(finding(
      "browser-mixed-content",
      "error",
      "An https page must not open a ws:// connection to another machine: the browser blocks mixed content.",
      SERVE_TLS,
    ));
  }
  if (BAD_PORTS.has(target.port)) {
    findings.push(finding(
      "browser-port",
      "error",
      `Browsers refuse port ${target.port}: it is reserved for another protocol.`,
      "Move the service to another port. Nearly all firewalls allow 443.",
    ));
  }
  findings.push(...checkCertificate("browser-certificate", "Browsers", has));
  const extra = (target.options.headers ?? []).map(([name]) => name)
    .filter((name) => !BROWSER_HEADERS.includes(name.toLowerCase()));
  if (extra.length > 0) {
    findings.push(finding(
      "browser-header",
      "note",
      `This check sent ${extra.join(", ")}. A page cannot set these headers on a WebSocket.`,
    ));
  }
  return findings;
}

/** Reports a certificate that this client refuses and some other clients accept. */
function checkCertificate(code: Code, who: string, has: ProfileInput["has"]): Finding[] {
  const reasons: [Code, string][] = [
    ["usage-no-signature", "its key usage forbids signatures"],
    ["key-unusual", "its key type is not supported"],
    ["signature-sha1", "it is signed with SHA-1"],
    ["signature-md5", "it is signed with MD5"],
  ];
  const found = reasons.filter(([reason]) => has(reason)).map(([, text]) => text);
  if (found.length === 0) return [];
  return [finding(
    code,
    "error",
    `${who} refuse this certificate: ${found.join(", ")}. Some other clients accept it.`,
    "Use a certificate with an EC P-256 or RSA 2048 key, signed with SHA-256, with the key usage digitalSignature.",
  )];
}

/** The requirements of WeChat mini programs (wx.connectSocket; "服务器域名配置" in its documentation). */
function checkForWechat(input: ProfileInput): Finding[] {
  const { target, evidence } = input;
  const findings: Finding[] = [];
  if (!target.secure) {
    findings.push(finding("wechat-scheme", "error", "WeChat mini programs connect only to wss:// URLs.", SERVE_TLS));
  }
  if (target.isAddress || isLocal(target.hostname)) {
    findings.push(finding(
      "wechat-domain",
      "error",
      `WeChat mini programs connect only to listed domains, and ${target.hostname} cannot be listed.`,
      "Use a domain with an ICP filing. During development, turn off the domain check in the developer tools.",
    ));
  }
  findings.push(
    ...checkTls12(
      "wechat-tls",
      "error",
      "WeChat on older phones needs TLS 1.2, which the server does not offer.",
      evidence,
    ),
  );
  if (input.has("chain-incomplete")) {
    findings.push(finding(
      "wechat-chain",
      "error",
      "The chain lacks an intermediate certificate. WeChat on Android does not fetch it, so the connection fails.",
      SERVE_COMPLETE_CHAIN,
    ));
  } else if (evidence.chain?.isPublic === false) {
    findings.push(finding(
      "wechat-authority",
      "error",
      "WeChat mini programs trust only public authorities, and this certificate is not from one.",
      PUBLIC_AUTHORITY,
    ));
  }
  const port = target.url.port === ""
    ? "The URL contains no port, so the list must contain none, and the program must not write :443."
    : `The URL's port is ${target.port}, so the list must contain :${target.port}, and the program must use this port.`;
  findings.push(finding("wechat-port", "note", `${port} Most networks allow port 443.`));
  findings.push(finding(
    "wechat-list",
    "note",
    `wss://${target.url.host} must be in the mini program's list of socket domains, and the domain needs an ICP filing.`,
  ));
  return findings;
}

function checkTls12(code: Code, level: "error" | "warning", fact: string, { versions = [] }: Evidence): Finding[] {
  if (versions.length === 0 || versions.includes("TLS 1.2")) return [];
  return [finding(code, level, fact, "Turn on TLS 1.2 in addition to 1.3.")];
}

/** Reports a missing intermediate or a private authority, for clients that fetch no certificates and have their own trust store. */
function checkTrust(
  { target, evidence, has }: ProfileInput,
  chainCode: Code,
  authorityCode: Code,
  who: string,
  { trusted, remedy }: { readonly trusted: string; readonly remedy: string },
): Finding[] {
  if (has("chain-incomplete")) {
    return [finding(
      chainCode,
      "error",
      `The chain lacks an intermediate certificate, and ${who} does not fetch it.`,
      SERVE_COMPLETE_CHAIN,
    )];
  }
  if (!target.secure || evidence.chain?.isPublic !== false) return [];
  return [finding(
    authorityCode,
    target.options.ca === undefined ? "warning" : "note",
    `The certificate is not from a public authority, and ${who} trusts only ${trusted}.`,
    remedy,
  )];
}

/** Android's defaults for apps since API level 28 (Android 9), from its network security configuration. */
function checkForAndroid(input: ProfileInput): Finding[] {
  const { target, evidence, has } = input;
  const findings: Finding[] = [];
  if (!target.secure) {
    findings.push(finding(
      "android-cleartext",
      "error",
      "Android apps must not open ws:// URLs: since Android 9, cleartext traffic is blocked by default.",
      `${SERVE_TLS} During development, set android:usesCleartextTraffic or allow this host in the network security configuration.`,
    ));
  }
  findings.push(...checkTrust(input, "android-chain", "android-authority", "Android", {
    trusted: "the system's authorities (since Android 7, not those that the user adds)",
    remedy: `${PUBLIC_AUTHORITY} Or add the authority to the app's network security configuration (trust-anchors).`,
  }));
  const fact = "Android 9 and older do not support TLS 1.3, and the server does not offer TLS 1.2.";
  findings.push(...checkTls12("android-tls", "warning", fact, evidence));
  findings.push(...checkCertificate("android-certificate", "Android apps", has));
  return findings;
}

function checkForJava(input: ProfileInput): Finding[] {
  const findings: Finding[] = [];
  if (input.evidence.contentLengthRefused === true) {
    findings.push(finding(
      "java-content-length",
      "error",
      "The client of Java 17 (java.net.http.WebSocket) sends Content-Length: 0, which the server refuses.",
      'Put a proxy in front that removes the header (nginx: proxy_set_header Content-Length ""), or use another client ' +
        "library (OkHttp, Tyrus, Java-WebSocket).",
    ));
  }
  findings.push(...checkTrust(input, "java-chain", "java-authority", "Java", {
    trusted: "the authorities in its own trust store (cacerts), not the system's",
    remedy: "Import the authority: keytool -importcert -cacerts -file ca.pem, or set the client's SSLContext.",
  }));
  const fact = "Java 8 before update 261 does not support TLS 1.3, and the server does not offer TLS 1.2.";
  findings.push(...checkTls12("java-tls", "warning", fact, input.evidence));
  return findings;
}

function checkForPython(input: ProfileInput): Finding[] {
  const { evidence } = input;
  const findings = checkTrust(input, "python-chain", "python-authority", "Python", {
    trusted: "the authorities of the system or of certifi",
    remedy: 'Set the context of the client: ssl.create_default_context(cafile="ca.pem"), or set SSL_CERT_FILE=ca.pem.',
  });
  const problems = (evidence.chain?.certificates ?? []).flatMap((one, at) => findStrictProblems(one, at));
  if (problems.length > 0) {
    findings.push(finding(
      "python-strict",
      "warning",
      `Python 3.13 and later require strict conformance to RFC 5280 and refuse this chain: ${problems.join("; ")}.`,
      "Use certificates with these extensions. A client can turn the strict check off: context.verify_flags &= " +
        "~ssl.VERIFY_X509_STRICT.",
    ));
  }
  if (evidence.pingUnanswered === true) {
    findings.push(finding(
      "python-ping",
      "error",
      "The Python library websockets sends a ping every 20 s and closes the connection with 1011 if no pong arrives.",
      "Make the service answer pings. A client can turn its pings off: ping_interval=None.",
    ));
  }
  return findings;
}

/** Finds missing extensions that OpenSSL's X509_V_FLAG_X509_STRICT requires (RFC 5280 section 4.2.1). */
function findStrictProblems(certificate: NonNullable<Evidence["chain"]>["certificates"][number], at: number): string[] {
  const extensions = readFields(certificate)?.extensions;
  if (extensions === undefined) return [];
  const problems: string[] = [];
  const requireExtension = (id: string, name: string) =>
    extensions.has(id) || problems.push(`${certificateTitle(certificate)} has no ${name}`);
  if (!isSelfIssued(certificate)) requireExtension(EXTENSION.authorityKeyId, "authority key identifier");
  if (at > 0 && certificate.ca) {
    requireExtension(EXTENSION.subjectKeyId, "subject key identifier");
    requireExtension(EXTENSION.keyUsage, "key usage");
  }
  return problems;
}
