/**
 * What an HTTP response in place of 101 means on a WebSocket path: its cause and the remedy.
 * @module
 */
import type { Finding } from "../../finding.ts";
import type { ResponseHead } from "../../client/opening_handshake.ts";
import { plainText, quote } from "../../client/printable_text.ts";
import type { Target } from "../check_target.ts";
import { type Code, finding } from "../finding_codes.ts";
import { certificateRequired } from "./client_certificate.ts";
import { named, recogniseService, type RefusedUpgrade, sentenceOf } from "./known_services.ts";

/** Code, what the response means, remedy. */
type Row = readonly [code: Code, meaning: string, remedy: string];

export const FORWARD_UPGRADE =
  "Let the proxy forward the upgrade (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; " +
  'proxy_set_header Connection "upgrade"; Apache: mod_proxy_wstunnel or upgrade=websocket).';

const SEE_LOG = "See the log of the service, and of the proxy in front of it.";

const STATUS: Readonly<Record<number, Row>> = {
  200: [
    "upgrade-ignored",
    "the request was answered like one for a page: a web server answers at this path, or a proxy dropped Upgrade",
    `Check the path. ${FORWARD_UPGRADE}`,
  ],
  400: [
    "upgrade-bad-request",
    "the request did not arrive as an upgrade: a proxy dropped or changed its headers",
    FORWARD_UPGRADE,
  ],
  401: [
    "upgrade-unauthorized",
    "credentials are required",
    "Give them as the service expects: --header 'Authorization: Bearer …', a cookie, or in the URL's query.",
  ],
  402: ["upgrade-refused", "the hosting of this name is suspended or requires payment", "See the provider's account."],
  403: [
    "upgrade-forbidden",
    "the request was understood and refused, usually because of its Origin, or by an address list or a web " +
    "application firewall",
    "Have the service allow the page's origin, and give it here with --origin https://the.page.",
  ],
  404: [
    "upgrade-not-found",
    "there is no WebSocket at this path, or the proxy and the service disagree on it",
    "Use the path that the service listens on (mind the trailing slash), and see which path the proxy passes on.",
  ],
  405: [
    "upgrade-method",
    "the path takes no GET, and every upgrade is one: it is no WebSocket path",
    "Use the path that the service listens on.",
  ],
  407: [
    "upgrade-proxy-authentication",
    "a forward proxy requires credentials before it lets the request through",
    "Give the proxy its user and password in this machine's network settings, or leave this network out of the proxy.",
  ],
  408: [
    "upgrade-request-timeout",
    "the server gave up waiting for the end of the request: something on the way holds bytes back",
    "See whether a proxy or firewall on the way buffers or inspects requests.",
  ],
  410: ["upgrade-not-found", "this path no longer exists", "Use the service's new path."],
  411: [
    "upgrade-length-required",
    "a proxy or server requires a Content-Length, which no WebSocket client sends",
    "Let it accept GET requests without a body; proxies that speak HTTP/1.0 require this.",
  ],
  413: [
    "upgrade-too-large",
    "the request counts as too large, though an upgrade has no body: a web application firewall or a proxy's limit",
    "Raise the limit for the request's headers (cookies, tokens), and look at the rules of the web application firewall.",
  ],
  414: [
    "upgrade-too-large",
    "the URL is too long: usually because of a token in its query",
    "Send the token in another way.",
  ],
  421: [
    "upgrade-misdirected",
    "the server does not serve this host on this TLS connection: the server name of TLS (SNI) and Host differ, or a " +
    "connection was used for another host",
    "Use the same name in the URL, in --sni and in the server's configuration (Apache: ServerName and ServerAlias).",
  ],
  426: [
    "upgrade-required",
    "the service saw no upgrade: a proxy dropped Upgrade and Connection, or speaks HTTP/1.0 to the service",
    FORWARD_UPGRADE,
  ],
  429: ["upgrade-too-many", "too many requests came from this address", "Wait, and reconnect less often."],
  431: [
    "upgrade-too-large",
    "the request's headers are too large: usually because of cookies or a token",
    "Send fewer cookies, or raise the limit (nginx: large_client_header_buffers).",
  ],
  451: ["upgrade-forbidden", "the service is not available here for legal reasons", "See the provider's notice."],
  500: ["upgrade-server-error", "the service failed while it took the request", "See the service's log."],
  501: [
    "upgrade-not-implemented",
    "the server does not know this kind of request: it has no WebSocket",
    "Use a server or proxy that supports WebSocket, or the path on which this one does.",
  ],
  502: [
    "upgrade-bad-gateway",
    "the proxy does not reach the service: it does not run, it listens elsewhere, or one side speaks TLS and the " +
    "other does not",
    "Start the service, compare its address and port with the proxy's, and end TLS at one of the two only.",
  ],
  503: [
    "upgrade-unavailable",
    "the service is full, is being stopped, or the proxy has no healthy one",
    "See the service's limits and log, and the proxy's health check.",
  ],
  504: [
    "upgrade-gateway-timeout",
    "the proxy reached the service's machine and got no response in time",
    "See whether the service hangs, and whether a firewall stands between the proxy and it.",
  ],
  505: [
    "upgrade-http-version",
    "the server does not accept HTTP/1.1, which WebSocket requires",
    "Turn HTTP/1.1 on in the server or proxy.",
  ],
  511: [
    "captive-portal",
    "this network requires a login before it lets anything through (a captive portal)",
    "Open a page in a browser on this network and log in, or use another network; the endpoint was not reached.",
  ],
};

/** What a body says, where its status alone misleads. The first that matches counts. */
const REASONS: readonly (readonly [statuses: readonly number[], pattern: RegExp, row: Row])[] = [
  [[400, 403, 426], /sub-?protocol|sec-websocket-protocol/i, [
    "upgrade-subprotocol",
    "the service requires a subprotocol that was not offered",
    "Offer it: --subprotocol NAME, as the client's code does in new WebSocket(url, [NAME]).",
  ]],
  [[400, 426], /sec-?websocket-?version|(?:unsupported|invalid|missing).{0,30}version/i, [
    "upgrade-version",
    "the service expects another Sec-WebSocket-Version",
    "Update the service's WebSocket library (RFC 6455 is version 13), and see whether a proxy changes the header.",
  ]],
  [
    [400, 403, 404, 421],
    /\b(?:invalid|unknown|disallowed|bad|misdirected|no such)\b.{0,20}\bhost\b|allowed_hosts|host not allowed/i,
    [
      "upgrade-host",
      "the service does not serve this Host",
      "Use the host name that the service is configured for, add this one to it, and let the proxy forward Host (nginx: " +
      "proxy_set_header Host $http_host).",
    ],
  ],
  [[400, 401, 403], /\borigin\b/i, [
    "upgrade-forbidden",
    "the service refuses the Origin of the request",
    "Have the service allow the page's origin, and give it here with --origin https://the.page.",
  ]],
  [[400, 403], /\b(?:token|jwt|api[ _-]?key|credential|unauthori[sz]ed|unauthenticated|login|session)\b/i, [
    "upgrade-unauthorized",
    "credentials are required, or those given are not accepted",
    "Give them as the service expects: --header 'Authorization: Bearer …', a cookie, or in the URL's query.",
  ]],
  [[400], /header.{0,20}too large|cookie too large|request too large/i, [
    "upgrade-too-large",
    "the request's headers are too large: usually because of cookies or a token",
    "Send fewer cookies, or raise the limit (nginx: large_client_header_buffers).",
  ]],
];

const REDIRECTS = [301, 302, 303, 307, 308];

/** Explains a response that is not 101. */
export function explainRefusal(refused: RefusedUpgrade): Finding {
  const { target, head, body } = refused;
  const { status } = head;
  const known = recogniseService(refused);
  if (known !== undefined) return known;
  const said = sentenceOf(refused);
  const text = plainText(body);
  const quoted = said === "" ? "" : ` It says ${quote(said)}`;
  if (REDIRECTS.includes(status)) return explainRedirect(target, head);
  const wantsCertificate = /no required ssl certificate|ssl certificate error/i.test(body) ||
    (refused.asksForCertificate && [400, 401, 403, 495, 496].includes(status));
  if (wantsCertificate) return certificateRequired(said === "" ? String(status) : said);
  if (status === 400 && /https port|ssl-enabled|client sent an http request to an https/i.test(body)) {
    return tlsOnBothHops(`The response is 400.${quoted}`);
  }
  const versions = (head.headers.get("sec-websocket-version") ?? []).join(", ");
  if (versions !== "" && !versions.split(",").some((version) => version.trim() === "13")) {
    return finding(
      "upgrade-version",
      "error",
      `The response is ${status}: the service speaks version ${
        quote(versions)
      } of the protocol only, and RFC 6455 is 13.`,
      "Update the service's WebSocket library: current clients speak version 13 only.",
    );
  }
  const [code, meaning, remedy] = REASONS.find(([statuses, pattern]) => statuses.includes(status) && pattern.test(text))
    ?.[2] ?? STATUS[status] ?? ["upgrade-refused", "101 was expected", SEE_LOG] satisfies Row;
  const wait = head.headers.get("retry-after")?.[0];
  const later = wait !== undefined && (status === 503 || status === 429)
    ? ` It asks to wait (Retry-After: ${quote(wait)}).`
    : "";
  return finding(code, "error", `The response is ${named(status)}: ${meaning}.${quoted}${later}`, remedy);
}

/** The proxy terminates TLS and speaks plain HTTP to a service that speaks TLS, too. */
export function tlsOnBothHops(seen: string): Finding {
  return finding(
    "tls-on-both-hops",
    "error",
    `${seen} So the proxy speaks plain HTTP to a service that speaks TLS: TLS is on both hops.`,
    "Run the service behind the proxy without TLS, or let the proxy speak TLS to it (nginx: proxy_pass https://).",
  );
}

function explainRedirect(target: Target, head: ResponseHead): Finding {
  const location = head.headers.get("location")?.[0];
  const base = target.url.href.replace(/^ws/, "http");
  const goal = location !== undefined && URL.canParse(location, base) ? new URL(location, base) : undefined;
  const to = location === undefined ? "" : ` to ${quote(location)}`;
  const fact = `The response is ${named(head.status)}, a redirect${to}: WebSocket clients do not follow it.`;
  if (goal === undefined || !/^https?:$/.test(goal.protocol)) {
    return finding("upgrade-redirected", "error", fact, "Use the URL behind the redirect.");
  }
  if (/log-?in|sign-?in|auth|sso|oauth/i.test(goal.pathname)) {
    return finding(
      "upgrade-unauthorized",
      "error",
      `${fact} It leads to a login.`,
      "Send the credentials along: --header 'Cookie: …' of a session, or --header 'Authorization: Bearer …'; let the " +
        "service answer upgrades without them with 401.",
    );
  }
  const url = goal.href.replace(/^http/, "ws");
  return finding("upgrade-redirected", "error", fact, `Use the URL behind it: ${quote(url).slice(1, -1)}`);
}
