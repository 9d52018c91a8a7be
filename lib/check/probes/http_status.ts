/**
 * What a status in place of 101 means on a WebSocket path: its usual cause and the way out.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { type Code, finding } from "../finding_codes.ts";
import { bodyText, quote } from "../../client/response_text.ts";
import type { Target } from "../check_target.ts";
import type { ResponseHead } from "../../client/opening_handshake.ts";

/** Code, what the answer means, remedy. */
type Row = readonly [code: Code, meaning: string, remedy: string];

const FORWARD_UPGRADE =
  "Let the proxy forward the upgrade (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; " +
  'proxy_set_header Connection "upgrade"; Apache: mod_proxy_wstunnel or upgrade=websocket).';

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
    "credentials are wanted",
    "Give them as the service expects: --header 'Authorization: Bearer …', a cookie, or in the URL's query.",
  ],
  403: [
    "upgrade-forbidden",
    "the request was understood and refused: by its Origin as a rule, or by an address list or firewall for the web",
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
  426: [
    "upgrade-required",
    "the service saw no upgrade: a proxy dropped Upgrade and Connection, or speaks HTTP/1.0 to the service",
    FORWARD_UPGRADE,
  ],
  429: ["upgrade-too-many", "too many requests came from this address", "Wait, and reconnect less often."],
  500: ["upgrade-server-error", "the service failed while it took the request", "See the service's log."],
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
    "the proxy reached the service's machine and waited in vain",
    "See whether the service hangs, and whether a firewall stands between the proxy and it.",
  ],
};

const REDIRECTS = [301, 302, 303, 307, 308];

/** Explains an answer that is not 101. */
export function explainStatus(target: Target, head: ResponseHead, body: string): Finding {
  const { status } = head;
  const said = bodyText(body);
  const quoted = said === "" ? "" : ` It says ${quote(said)}.`;
  if (REDIRECTS.includes(status)) return redirect(target, head);
  if (status === 400 && /no required ssl certificate|ssl certificate error/i.test(body)) return certificateWanted(said);
  if (status === 400 && /https port|ssl-enabled|client sent an http request to an https/i.test(body)) {
    return tlsOnBothHops(`The answer is 400.${quoted}`);
  }
  const [code, meaning, remedy] = STATUS[status] ?? [
    "upgrade-refused",
    "101 was expected",
    "See the log of the service, and of the proxy in front of it.",
  ] satisfies Row;
  const wait = head.headers.get("retry-after")?.[0];
  const later = wait !== undefined && (status === 503 || status === 429)
    ? ` It asks to wait (Retry-After: ${quote(wait)}).`
    : "";
  return finding(code, "error", `The answer is ${status}: ${meaning}.${quoted}${later}`, remedy);
}

/** The proxy ends TLS and asks a service in plain that speaks TLS too. */
export function tlsOnBothHops(seen: string): Finding {
  return finding(
    "tls-on-both-hops",
    "error",
    `${seen} So the proxy asks in plain where TLS is spoken: TLS is on both hops.`,
    "Run the service behind the proxy without TLS, or let the proxy speak TLS to it (nginx: proxy_pass https://).",
  );
}

/** Whether an alert says so: certificate_required in TLS 1.3, bad_certificate below. */
export function wantsCertificate(message: string): boolean {
  return /certificate_?required|alert:? bad_?certificate/i.test(message);
}

/** The server wants to know the client by its certificate. */
export function certificateWanted(detail: string): Finding {
  return finding(
    "client-certificate-required",
    "error",
    `The server wants a certificate from the client: it says ${quote(detail)}.`,
    "Turn client certificates off for the WebSocket path (nginx: ssl_verify_client), or use a client that has one.",
  );
}

function redirect(target: Target, head: ResponseHead): Finding {
  const location = head.headers.get("location")?.[0];
  let goal: string | undefined;
  try {
    if (location !== undefined) {
      const url = new URL(location, target.url.href.replace(/^ws/, "http"));
      goal = url.href.replace(/^http/, "ws");
    }
  } catch {
    // A Location that is no URL leads nowhere.
  }
  return finding(
    "upgrade-redirected",
    "error",
    `The answer is ${head.status}, a redirect${location === undefined ? "" : ` to ${quote(location)}`}: WebSocket ` +
      "clients do not follow it.",
    goal === undefined || !/^wss?:/.test(goal)
      ? "Use the URL behind the redirect."
      : `Use the URL behind it: ${quote(goal).slice(1, -1)}`,
  );
}
