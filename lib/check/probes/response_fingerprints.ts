/**
 * Recognises services, CDNs and hosting platforms by the text and headers of their responses, because the status alone
 * is ambiguous.
 * @module
 */
import { STATUS_TEXT } from "@std/http/status";
import type { ResponseHead } from "../../client/opening_handshake.ts";
import type { Finding } from "../../diagnostic_finding.ts";
import type { Target } from "../probe_target.ts";
import { bodyText, plainText, quote } from "../../client/printable_text.ts";
import { type Code, finding } from "../finding_codes.ts";

/** A response other than 101 to an upgrade request, and its context. */
export interface RefusedUpgrade {
  readonly target: Target;
  readonly head: ResponseHead;
  /** The beginning of the body. */
  readonly body: string;
  /** Whether the server requested a client certificate in the TLS handshake. */
  readonly requestsClientCertificate: boolean;
}

/** The body of a 400 with which the TLS ports of nginx, Apache, Go and Tomcat answer plain HTTP. */
export const REFUSES_PLAIN_HTTP =
  /https port|ssl-enabled|client sent an http request to an https|host and port requires tls/i;

const statusText: Readonly<Record<number, string>> = STATUS_TEXT;

/** Formats a status with its text, if it has one: `403 Forbidden`. */
export function formatStatus(status: number): string {
  const text = statusText[status];
  return text === undefined ? String(status) : `${status} ${text}`;
}

/** Returns the text of the body on one line, without a first line that only repeats the status. */
export function reasonText({ head, body }: RefusedUpgrade): string {
  const [first = "", ...rest] = body.split("\n");
  return bodyText(
    rest.some((line) => line.trim() !== "") && first.trim() === formatStatus(head.status) ? rest.join("\n") : body,
  );
}

/** A response in the form that the rules use. */
interface Response {
  readonly status: number;
  readonly body: string;
  /** The whole text of the body, on one line. */
  readonly text: string;
  /** The text that findings quote. */
  readonly reason: string;
  /** The values of a header, joined; empty if the header is missing. */
  readonly header: (name: string) => string;
  readonly refused: RefusedUpgrade;
}

/** A rule that recognises a service and explains its response. */
interface Rule {
  readonly code: Code;
  readonly matches: (response: Response) => boolean;
  readonly fact: string | ((response: Response) => string);
  readonly remedy: string | ((response: Response) => string);
}

/** Cloudflare's statuses for failures between Cloudflare and the origin server. */
const CLOUDFLARE: Readonly<Record<number, readonly [meaning: string, remedy: string]>> = {
  520: [
    "received an empty or invalid response from the origin server",
    "Check the origin server's error log and header sizes.",
  ],
  521: [
    "cannot connect: the origin server refuses connections",
    "Start the origin server, open its port to Cloudflare's addresses, and check which port the encryption mode uses " +
    "(Flexible: 80, Full: 443).",
  ],
  522: [
    "receives no answer from the origin server (TCP timeout)",
    "Open the origin's firewall to Cloudflare's addresses.",
  ],
  523: ["has no route to the origin server", "Correct the origin's address in Cloudflare's DNS records."],
  524: [
    "received no response from the origin server within 100 s",
    "Check what the origin does before it answers the upgrade, and whether its proxy forwards Upgrade.",
  ],
  525: [
    "cannot make a TLS connection to the origin server",
    "Give the origin a certificate and TLS on port 443, or set the encryption mode to match the origin.",
  ],
  526: [
    "does not accept the origin server's certificate",
    "Install a valid certificate or a Cloudflare origin certificate at the origin (encryption mode Full (strict)).",
  ],
  527: ["has lost its tunnel to the origin server", "Check the tunnel or Railgun at the origin."],
  530: [
    "cannot resolve or reach the origin server",
    "Check the error number (1016: the origin's DNS name does not resolve; 1033: the tunnel is not connected).",
  ],
};

/** The messages of Engine.IO's errors. Their codes are 0 to 5. */
const ENGINE_IO = ["Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden"];
/** The code of "Bad request". */
const ENGINE_IO_BAD_REQUEST = 3;

const RULES: readonly Rule[] = [
  {
    code: "cdn-challenge",
    matches: ({ header, text }) =>
      header("cf-mitigated") === "challenge" || /^just a moment|attention required! \| cloudflare/i.test(text) ||
      /checking your browser before|ddos protection by|verify(ing)? you are (a )?human/i.test(text),
    fact:
      "A challenge page in front of the service requires proof that the client is a browser. A WebSocket handshake cannot " +
      "provide that.",
    remedy:
      "Exempt the WebSocket path from challenges and bot rules (Cloudflare: a WAF rule that skips them for this " +
      "path), or use a host name without that protection.",
  },
  {
    code: "cdn-origin-error",
    matches: ({ status, header }) =>
      status in CLOUDFLARE && (status !== 527 || /cloudflare/i.test(header("server"))) &&
      !/eo-|edgeone/i.test(header("server")),
    fact: ({ status }) => `Cloudflare ${CLOUDFLARE[status]![0]}.`,
    remedy: ({ status }) => CLOUDFLARE[status]![1],
  },
  {
    code: "cdn-blocked",
    // With another status, Akamai and CloudFront report in the same form that they cannot reach the origin.
    matches: ({ status, text, header, body }) =>
      status >= 400 &&
      (/error(?: code:?)? ?10(?:0[5-9]|1[0-2]|20)\b/i.test(text) &&
          (/cloudflare/i.test(header("server") + text) || header("cf-ray") !== "") ||
        /sorry, you have been blocked/i.test(text) ||
        status === 403 && (/access denied.*reference (#|&#35;)|reference #[0-9a-f.]{8,}/i.test(text) ||
            /the request could not be satisfied/i.test(text) || header("x-akamai-request-id") !== "") ||
        header("x-amzn-waf-action") !== "" ||
        /request blocked|incapsula incident|sucuri website firewall|web application firewall|errors\.aliyun\.com|waf_block/i
          .test(body)),
    fact: "A CDN or web application firewall in front of the service blocks the request.",
    remedy:
      "Find this request in the firewall's events, and allow WebSocket (Upgrade) for this host and path (CloudFront: a " +
      "behavior that forwards all viewer headers; other CDNs: the WebSocket setting).",
  },
  {
    code: "cdn-blocked",
    matches: ({ status, body }) =>
      status >= 400 && /icp (?:filing|license|beian)|non-compliance icp|未备案|备案/i.test(body),
    fact: "The provider blocks the domain because it has no ICP filing (mainland China).",
    remedy: "Make an ICP filing for the domain with this provider, or host it in a region that does not require one.",
  },
  {
    code: "platform-not-found",
    // Vercel and ngrok have the same headers on errors of a running service.
    matches: ({ status, text, header }) =>
      status >= 400 && (/^no such app|application error.*heroku|there isn't a github pages site here/i.test(text) ||
        /deployment_not_found|fastly error: unknown domain|project not found|tunnel .*not found|ngrok.*(offline|not found)/i
          .test(text) ||
        /NOT_FOUND$/.test(header("x-vercel-error")) || header("ngrok-error-code") === "ERR_NGROK_3200"),
    fact: "The hosting platform has no running service with this name.",
    remedy:
      "Attach the domain to the service in the platform's settings, start it there, and check whether this kind of " +
      "hosting supports WebSocket (static hosting and many serverless functions do not).",
  },
  {
    code: "captive-portal",
    matches: ({ status, text, header, refused }) => {
      // A portal cannot answer on a TLS connection to the endpoint, and it does not report an error of the service.
      if (refused.target.secure || (status >= 400 && ![401, 403, 511].includes(status))) return false;
      const login = /captive portal|wi-?fi login|hotspot|log ?in to (?:the |this )?network|network login|portal page/i;
      if (login.test(text)) return true;
      const location = header("location");
      const base = refused.target.url.href.replace(/^ws/, "http");
      if (status < 300 || status > 399 || !URL.canParse(location, base)) return false;
      const destination = new URL(location, base);
      const { hostname, pathname, search } = destination;
      return hostname !== refused.target.hostname && !hasSamePath(destination, refused.target) &&
        /portal|captive|hotspot|wlan|wifi|guest/i.test(hostname + pathname + search);
    },
    fact: "This network answers instead of the endpoint and requires a login first (a captive portal).",
    remedy:
      "Open a page in a browser on this network and log in, or use another network. The endpoint was not reached.",
  },
  {
    code: "engine-io",
    matches: ({ body, refused }) => {
      const { code, message } = parseJsonObject(body) ?? {};
      const { pathname, searchParams } = refused.target.url;
      // Then this is the URL for a plain WebSocket, and Engine.IO finds the request bad if a proxy dropped Upgrade.
      const isPlain = searchParams.get("transport") === "websocket";
      return (typeof message === "string" && typeof code === "number" && code >= 0 && code <= 5 &&
        (ENGINE_IO.includes(message) || /protocol version/i.test(message)) &&
        !(isPlain && code === ENGINE_IO_BAD_REQUEST)) ||
        /^\d*:?0\{"sid":/.test(body) ||
        (refused.head.status === 400 && !isPlain && /^\/(?:socket|engine)\.io\//.test(pathname));
    },
    fact: ({ reason }) =>
      `The server uses Socket.IO (Engine.IO), which is a different protocol. The response body: ${quote(reason)}.`,
    remedy: ({ refused: { target: { url } } }) =>
      "Use a Socket.IO client. A plain WebSocket completes only the handshake, with " +
      `${url.protocol}//${url.host}/socket.io/?EIO=4&transport=websocket`,
  },
  {
    code: "sockjs",
    matches: ({ text }) => /^welcome to sockjs/i.test(text),
    fact: "The server uses SockJS, which has a separate path for plain WebSocket.",
    remedy: ({ refused: { target: { url } } }) =>
      `Use ${url.protocol}//${url.host}${url.pathname.replace(/\/$/, "")}/websocket, or a SockJS client.`,
  },
  {
    code: "signalr",
    matches: ({ text, status }) => status >= 400 && /connection id required|no connection with that id/i.test(text),
    fact: ({ reason }) =>
      `The server uses SignalR, which negotiates before the upgrade. The response body: ${quote(reason)}.`,
    remedy: "Use a SignalR client, or one with skipNegotiation set.",
  },
  {
    code: "upgrade-needs-tls",
    matches: ({ status, header }) => status === 426 && /^tls\//i.test(header("upgrade")),
    fact: ({ reason }) =>
      `The service behind the proxy refuses clients without TLS. The response body: ${quote(reason)}`,
    remedy: ({ refused: { target } }) =>
      target.secure
        ? "This connection uses TLS, so an outer proxy terminates it, and the inner proxy sets X-Forwarded-Proto: http. " +
          "Configure the inner proxy to forward the header of the outer one (nginx: proxy_set_header X-Forwarded-Proto " +
          "$http_x_forwarded_proto), or to set it to https."
        : `Connect with TLS: wss://${
          target.url.host.replace(/:80$/, "")
        }${target.url.pathname}. If another proxy terminates TLS, ` +
          "configure this one to set X-Forwarded-Proto: https.",
  },
  {
    code: "event-stream",
    matches: ({ header }) => /^text\/event-stream/i.test(header("content-type")),
    fact: "The path serves Server-Sent Events (text/event-stream), not WebSocket.",
    remedy: "Use EventSource on this path, or the service's WebSocket path.",
  },
];

/** Returns the finding of the first rule that matches the response. */
export function recogniseService(refused: RefusedUpgrade): Finding | undefined {
  const response: Response = {
    status: refused.head.status,
    body: refused.body,
    text: plainText(refused.body),
    reason: reasonText(refused),
    header: (name) => (refused.head.headers.get(name) ?? []).join(", "),
    refused,
  };
  const rule = RULES.find(({ matches }) => matches(response));
  if (rule === undefined) return undefined;
  const resolveText = (value: Rule["fact"]) => typeof value === "string" ? value : value(response);
  return finding(
    rule.code,
    "error",
    `The response is ${formatStatus(response.status)}. ${resolveText(rule.fact)}`,
    resolveText(rule.remedy),
  );
}

/** Whether a URL has the path of the target, apart from a slash at the end. */
export function hasSamePath(url: URL, target: Target): boolean {
  return url.pathname.replace(/\/$/, "") === target.url.pathname.replace(/\/$/, "");
}

function parseJsonObject(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}
