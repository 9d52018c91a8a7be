/**
 * Explains an HTTP response other than 101 to an upgrade request: its cause and the remedy.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import type { ResponseHead } from "../../client/opening_handshake.ts";
import { plainText, quote } from "../../client/printable_text.ts";
import type { Target } from "../probe_target.ts";
import { type Code, finding } from "../finding_codes.ts";
import { certificateRequired, MAY_REQUIRE_CERTIFICATE } from "./client_certificate.ts";
import {
  formatStatus,
  hasSamePath,
  reasonText,
  recogniseService,
  type RefusedUpgrade,
  REFUSES_PLAIN_HTTP,
} from "./response_fingerprints.ts";

/** The explanation of a response. */
type Explanation = readonly [code: Code, meaning: string, remedy: string];

export const FORWARD_UPGRADE =
  "Configure the proxy to forward the upgrade (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; " +
  'proxy_set_header Connection "upgrade"; Apache: mod_proxy_wstunnel or upgrade=websocket).';

const CHECK_LOGS = "Check the logs of the service and of the proxy in front of it.";

const BY_STATUS: Readonly<Record<number, Explanation>> = {
  200: [
    "upgrade-ignored",
    "the server handled the request as an ordinary one: a web server serves this path, or a proxy dropped Upgrade",
    `Check the path. ${FORWARD_UPGRADE}`,
  ],
  400: [
    "upgrade-bad-request",
    "the server did not recognise the upgrade: a proxy dropped or changed its headers",
    FORWARD_UPGRADE,
  ],
  401: [
    "upgrade-unauthorized",
    "credentials are required",
    "Send credentials in the form that the service expects: --header 'Authorization: Bearer …', a cookie, or in the URL's query.",
  ],
  402: [
    "upgrade-refused",
    "the hosting of this name is suspended or requires payment",
    "Check the account at the provider.",
  ],
  403: [
    "upgrade-forbidden",
    "the server refuses the request, usually because of its Origin, an address list or a web application firewall",
    "Configure the service to allow the page's origin, and send that origin with --origin https://the.page.",
  ],
  404: [
    "upgrade-not-found",
    "there is no WebSocket at this path, or the proxy forwards it under another path",
    "Use the service's path, including a trailing slash, and check which path the proxy forwards.",
  ],
  405: [
    "upgrade-method",
    "the path does not allow GET, which every upgrade uses: it is not a WebSocket path",
    "Use the service's path.",
  ],
  407: [
    "upgrade-proxy-authentication",
    "a forward proxy requires credentials",
    "Enter the proxy's user and password in this machine's network settings, or exempt this host from the proxy.",
  ],
  408: [
    "upgrade-request-timeout",
    "the server did not receive the complete request in time",
    "Check whether a proxy or firewall buffers or inspects requests.",
  ],
  410: ["upgrade-not-found", "this path no longer exists", "Use the service's new path."],
  411: [
    "upgrade-length-required",
    "a proxy or server requires a Content-Length, which no WebSocket client sends",
    "Configure it to accept GET requests without a body. HTTP/1.0 proxies may require a Content-Length.",
  ],
  413: [
    "upgrade-too-large",
    "the request exceeds a size limit of a proxy or a web application firewall, although an upgrade has no body",
    "Raise the limit of request headers (cookies, tokens), and check the rules of the web application firewall.",
  ],
  414: [
    "upgrade-too-large",
    "the URL is too long, usually because of a token in its query",
    "Send the token in a header, a cookie or a message.",
  ],
  421: [
    "upgrade-misdirected",
    "the server does not serve this host on this TLS connection: the server name (SNI) and Host differ, or a " +
    "connection was reused for another host",
    "Use the same name in the URL, in --sni and in the server's configuration (Apache: ServerName and ServerAlias).",
  ],
  426: [
    "upgrade-required",
    "the service received no upgrade: a proxy dropped Upgrade and Connection, or uses HTTP/1.0 to the service",
    FORWARD_UPGRADE,
  ],
  429: ["upgrade-too-many", "too many requests came from this address", "Wait, and reconnect less often."],
  431: [
    "upgrade-too-large",
    "the request's headers are too large, usually because of cookies or a token",
    "Send fewer cookies, or raise the limit (nginx: large_client_header_buffers).",
  ],
  451: ["upgrade-forbidden", "the service is not available for legal reasons", "Read the provider's notice."],
  500: ["upgrade-server-error", "the service failed while handling the request", "Check the service's log."],
  501: [
    "upgrade-not-implemented",
    "the server does not support WebSocket",
    "Use a server or proxy that supports WebSocket, or a path on which this one supports it.",
  ],
  502: [
    "upgrade-bad-gateway",
    "the proxy cannot reach the service: the service is not running, it listens on another address, or only one of the " +
    "two uses TLS",
    "Start the service, compare its address and port with the proxy's, and terminate TLS at only one of the two.",
  ],
  503: [
    "upgrade-unavailable",
    "the service is full or stopping, or the proxy has no healthy upstream",
    "Check the service's limits and log, and the proxy's health check.",
  ],
  504: [
    "upgrade-gateway-timeout",
    "the proxy received no response from the service in time",
    "Check whether the service hangs, or a firewall blocks the proxy.",
  ],
  505: [
    "upgrade-http-version",
    "the server does not accept HTTP/1.1, which WebSocket requires",
    "Turn HTTP/1.1 on in the server or proxy.",
  ],
  511: [
    "captive-portal",
    "this network requires a login first (a captive portal)",
    "Open a page in a browser on this network and log in, or use another network. The endpoint was not reached.",
  ],
};

/** Explanations by status and body, where the status alone is ambiguous. The first match is used. */
const BY_BODY: readonly (readonly [statuses: readonly number[], pattern: RegExp, explanation: Explanation])[] = [
  [[400, 403, 426], /sub-?protocol|sec-websocket-protocol/i, [
    "upgrade-subprotocol",
    "the service requires a subprotocol that was not offered",
    "Offer it with --subprotocol NAME, as client code does with new WebSocket(url, [NAME]).",
  ]],
  [[400, 426], /sec-?websocket-?version|websocket.{0,20}\bversion|\bversion.{0,20}websocket/i, [
    "upgrade-version",
    "the service requires another Sec-WebSocket-Version",
    "Update the service's WebSocket library (RFC 6455 is version 13), and check whether a proxy changes the header.",
  ]],
  [
    [400, 403, 404, 421],
    /\b(?:invalid|unknown|disallowed|bad|misdirected|no such)\b.{0,20}\bhost(?:name)?\b|allowed_hosts|host not allowed/i,
    [
      "upgrade-host",
      "the service does not serve this Host",
      "Use a host name of the service's configuration, or add this one to it. Make the proxy forward Host (nginx: " +
      "proxy_set_header Host $http_host).",
    ],
  ],
  [[400, 401, 403], /\borigin\b/i, [
    "upgrade-forbidden",
    "the service refuses the Origin of the request",
    "Configure the service to allow the page's origin, and send that origin with --origin https://the.page.",
  ]],
  [[400, 403], /\b(?:token|jwt|api[ _-]?key|credential|unauthori[sz]ed|unauthenticated|login|session)\b/i, [
    "upgrade-unauthorized",
    "credentials are required, or those given are not accepted",
    "Send credentials in the form that the service expects: --header 'Authorization: Bearer …', a cookie, or in the URL's query.",
  ]],
  [[400], /header.{0,20}too large|cookie too large|request too large/i, [
    "upgrade-too-large",
    "the request's headers are too large, usually because of cookies or a token",
    "Send fewer cookies, or raise the limit (nginx: large_client_header_buffers).",
  ]],
];

/** Bodies about a missing client certificate: nginx (400), Apache and IIS (403). */
const CERTIFICATE_BODY =
  /no required ssl certificate|ssl certificate error|post-handshake authentication|client certificate.{0,20}required|requires?\b.{0,80}\bclient certificate/i;

const REDIRECTS = [301, 302, 303, 307, 308];

/** Paths of login pages. */
const LOGIN_PATH =
  /(?:^|[/._-])(?:log[_-]?in|sign[_-]?in|(?:auth|authorize|authenticate|sso|oauth2?|saml2?|oidc)(?:$|[/._-]))/i;

/** Explains a response other than 101. */
export function explainRefusal(refused: RefusedUpgrade): Finding {
  const { target, head, body } = refused;
  const { status } = head;
  const known = recogniseService(refused);
  if (known !== undefined) return known;
  const reason = reasonText(refused);
  const text = plainText(body);
  const quoted = reason === "" ? "" : ` The response body: ${quote(reason)}`;
  if (REDIRECTS.includes(status)) return explainRedirect(target, head);
  if (status === 495 || status === 496 || ([400, 401, 403].includes(status) && CERTIFICATE_BODY.test(text))) {
    return certificateRequired(reason === "" ? String(status) : reason);
  }
  if (status === 400 && REFUSES_PLAIN_HTTP.test(body)) {
    return tlsOnBothHops(`The response is 400.${quoted}`);
  }
  const versions = (head.headers.get("sec-websocket-version") ?? []).join(", ");
  if (versions !== "" && !versions.split(",").some((version) => version.trim() === "13")) {
    return finding(
      "upgrade-version",
      "error",
      `The response is ${status}: the service supports only version ${
        quote(versions)
      } of the protocol. RFC 6455 is version 13.`,
      "Update the service's WebSocket library: current clients support only version 13.",
    );
  }
  // A challenge (RFC 9110 section 11.6.1) is explicit. Words of the body are not.
  const challenged = status === 401 && head.headers.has("www-authenticate");
  const byBody = challenged
    ? undefined
    : BY_BODY.find(([statuses, pattern]) => statuses.includes(status) && pattern.test(text))?.[2];
  const [code, meaning, remedy] = byBody ?? BY_STATUS[status] ??
    ["upgrade-refused", "an upgrade is answered with 101", CHECK_LOGS] satisfies Explanation;
  const retryAfter = head.headers.get("retry-after")?.[0];
  const hint = retryAfter !== undefined && (status === 503 || status === 429)
    ? ` The response contains Retry-After: ${quote(retryAfter)}.`
    : refused.requestsClientCertificate && !challenged && byBody === undefined && [400, 401, 403].includes(status)
    ? MAY_REQUIRE_CERTIFICATE
    : "";
  return finding(code, "error", `The response is ${formatStatus(status)}: ${meaning}.${quoted}${hint}`, remedy);
}

/** Makes the finding of a proxy that terminates TLS and uses plain HTTP to a service that requires TLS. */
export function tlsOnBothHops(evidence: string): Finding {
  return finding(
    "tls-on-both-hops",
    "error",
    `${evidence} The proxy terminates TLS, and uses plain HTTP to a service that requires TLS.`,
    "Run the service behind the proxy without TLS, or make the proxy use TLS to the service (nginx: proxy_pass https://).",
  );
}

function explainRedirect(target: Target, head: ResponseHead): Finding {
  const location = head.headers.get("location")?.[0];
  const base = target.url.href.replace(/^ws/, "http");
  const destination = location !== undefined && URL.canParse(location, base) ? new URL(location, base) : undefined;
  const toLocation = location === undefined ? "" : ` to ${quote(location)}`;
  const fact = `The response is ${
    formatStatus(head.status)
  }, a redirect${toLocation}: WebSocket clients do not follow it.`;
  if (destination === undefined || !/^https?:$/.test(destination.protocol)) {
    return finding("upgrade-redirected", "error", fact, "Use the URL that the redirect points to.");
  }
  if (!hasSamePath(destination, target) && LOGIN_PATH.test(destination.pathname)) {
    return finding(
      "upgrade-unauthorized",
      "error",
      `${fact} It points to a login page.`,
      "Send credentials: --header 'Cookie: …' of a session, or --header 'Authorization: Bearer …'. Make the service " +
        "answer 401 to upgrades without credentials.",
    );
  }
  const url = destination.href.replace(/^http/, "ws");
  return finding("upgrade-redirected", "error", fact, `Use the URL that it points to: ${quote(url).slice(1, -1)}`);
}
