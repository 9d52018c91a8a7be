/**
 * Responses of services, delivery networks and hosting platforms that are known by their text or headers: the status
 * alone would mislead.
 * @module
 */
import { STATUS_TEXT } from "@std/http/status";
import type { ResponseHead } from "../../client/opening_handshake.ts";
import type { Finding } from "../../finding.ts";
import type { Target } from "../check_target.ts";
import { bodyText, plainText, quote } from "../../client/printable_text.ts";
import { type Code, finding } from "../finding_codes.ts";

/** A response that is not 101, and what else is known. */
export interface RefusedUpgrade {
  readonly target: Target;
  readonly head: ResponseHead;
  /** The beginning of the body. */
  readonly body: string;
  /** Whether the server asked for a client certificate in the TLS handshake. */
  readonly asksForCertificate: boolean;
}

const statusText: Readonly<Record<number, string>> = STATUS_TEXT;

/** A status with its name, where it has one: `403 Forbidden`. */
export function named(status: number): string {
  const text = statusText[status];
  return text === undefined ? String(status) : `${status} ${text}`;
}

/** The text of the body on one line, without a first line that only repeats the status. */
export function sentenceOf({ head, body }: RefusedUpgrade): string {
  const [first = "", ...rest] = body.split("\n");
  return bodyText(
    rest.some((line) => line.trim() !== "") && first.trim() === named(head.status) ? rest.join("\n") : body,
  );
}

/** A response in the form in which the rules look at it. */
interface Response {
  readonly status: number;
  readonly body: string;
  /** The whole text of the body, on one line. */
  readonly text: string;
  /** What a person is told of it. */
  readonly said: string;
  /** The values of a header, joined; empty where it is missing. */
  readonly header: (name: string) => string;
  readonly refused: RefusedUpgrade;
}

/** One rule: whom it recognises, and what that means. */
interface Rule {
  readonly code: Code;
  readonly matches: (response: Response) => boolean;
  readonly fact: string | ((response: Response) => string);
  readonly remedy: string | ((response: Response) => string);
}

/** Cloudflare's own statuses between it and the origin server. */
const CLOUDFLARE: Readonly<Record<number, readonly [meaning: string, remedy: string]>> = {
  520: [
    "got an empty or broken response from the origin server",
    "See the origin server's error log and header sizes.",
  ],
  521: [
    "is refused by the origin server",
    "Start the origin server, open its port for Cloudflare's addresses, and see which port the encryption mode uses " +
    "(Flexible: 80, Full: 443).",
  ],
  522: [
    "gets no answer from the origin server (TCP timeout)",
    "Open the origin's firewall for Cloudflare's addresses.",
  ],
  523: ["has no route to the origin server", "Correct the origin's address in Cloudflare's DNS records."],
  524: [
    "reached the origin server and got no response within 100 s",
    "See what the origin does before it answers the upgrade, and whether its proxy forwards Upgrade.",
  ],
  525: [
    "cannot make a TLS connection to the origin server",
    "Give the origin a certificate and TLS on 443, or set the encryption mode to what the origin speaks.",
  ],
  526: [
    "does not accept the origin server's certificate",
    "Install a valid certificate or a Cloudflare origin certificate at the origin (encryption mode Full (strict)).",
  ],
  527: ["has lost its tunnel to the origin server", "See the state of the tunnel or of Railgun at the origin."],
  530: [
    "cannot resolve or reach the origin server",
    "See the error number (1016: the origin's DNS name does not resolve; 1033: the tunnel is not connected).",
  ],
};

const ENGINE_IO = ["Transport unknown", "Session ID unknown", "Bad handshake method", "Bad request", "Forbidden"];

const RULES: readonly Rule[] = [
  {
    code: "cdn-challenge",
    matches: ({ header, text }) =>
      header("cf-mitigated") === "challenge" || /^just a moment|attention required! \| cloudflare/i.test(text) ||
      /checking your browser before|ddos protection by|verify(ing)? you are (a )?human/i.test(text),
    fact:
      "A challenge page stands in front of the service: it requires proof of a browser, which no WebSocket handshake " +
      "can give.",
    remedy:
      "Exempt the WebSocket path from challenges and bot rules (Cloudflare: a WAF rule that skips them for this " +
      "path), or use a host name that does not pass there.",
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
    matches: ({ status, text, header, body }) =>
      status >= 400 &&
      (/error(?: code:?)? ?10(?:0[0-9]|1[0-5]|20|2[0-9])\b/i.test(text) || /sorry, you have been blocked/i.test(text) ||
        /access denied.*reference (#|&#35;)|reference #[0-9a-f.]{8,}/i.test(text) ||
        header("x-akamai-request-id") !== "" && status === 403 ||
        /the request could not be satisfied/i.test(text) || header("x-amzn-waf-action") !== "" ||
        /request blocked|incapsula incident|sucuri website firewall|web application firewall|errors\.aliyun\.com|waf_block/i
          .test(body)),
    fact: "A delivery network or web firewall in front of the service blocks the request.",
    remedy: "Look for this request in the network's firewall events, and allow WebSocket (Upgrade) for this host and " +
      "path there (CloudFront: a behavior that forwards all viewer headers; others: their WebSocket switch).",
  },
  {
    code: "cdn-blocked",
    matches: ({ status, body }) =>
      status >= 400 && /icp (?:filing|license|beian)|non-compliance icp|未备案|备案/i.test(body),
    fact: "The provider blocks the name because it has no ICP filing (mainland China).",
    remedy: "File the domain for ICP with this provider, or serve it from a place that does not require that.",
  },
  {
    code: "platform-not-found",
    matches: ({ status, text, header }) =>
      status >= 400 && (/^no such app|application error.*heroku|there isn't a github pages site here/i.test(text) ||
        /deployment_not_found|fastly error: unknown domain|project not found|tunnel .*not found|ngrok.*(offline|not found)/i
          .test(text) ||
        header("x-vercel-error") !== "" || header("ngrok-error-code") !== ""),
    fact: "A hosting platform answers that it has no running service under this name.",
    remedy:
      "Attach the domain to the service in the platform's settings, start it there, and see whether this kind of " +
      "hosting takes WebSocket at all (static hosting and many serverless functions do not).",
  },
  {
    code: "captive-portal",
    matches: ({ status, text, header, refused }) => {
      const login = /captive portal|wi-?fi login|hotspot|log ?in to (?:the |this )?network|network login|portal page/i;
      if (login.test(text)) return true;
      const location = header("location");
      const base = refused.target.url.href.replace(/^ws/, "http");
      if (status < 300 || status > 399 || !URL.canParse(location, base)) return false;
      const { hostname, pathname, search } = new URL(location, base);
      return hostname !== refused.target.hostname &&
        /portal|captive|hotspot|wlan|wifi|guest/i.test(hostname + pathname + search);
    },
    fact: "This network answers in place of the endpoint and requires a login first (a captive portal).",
    remedy:
      "Open a page in a browser on this network and log in, or use another network; the endpoint was not reached.",
  },
  {
    code: "engine-io",
    matches: ({ body, refused }) => {
      const reply = jsonOf(body);
      const message = typeof reply?.message === "string" ? reply.message : "";
      return (typeof reply?.code === "number" && (ENGINE_IO.includes(message) || /protocol version/i.test(message))) ||
        /^\d*:?0\{"sid":/.test(body) ||
        (refused.head.status >= 400 && /^\/(?:socket|engine)\.io\//.test(refused.target.url.pathname));
    },
    fact: ({ said }) =>
      `This is a Socket.IO (Engine.IO) server, which speaks its own protocol: it says ${quote(said)}.`,
    remedy: ({ refused: { target: { url } } }) =>
      "Use a Socket.IO client; a plain WebSocket gets as far as the handshake with " +
      `${url.protocol}//${url.host}/socket.io/?EIO=4&transport=websocket`,
  },
  {
    code: "sockjs",
    matches: ({ text }) => /^welcome to sockjs|can "upgrade" only to "websocket"/i.test(text),
    fact: "This is a SockJS server: plain WebSockets have a path of their own there.",
    remedy: ({ refused: { target: { url } } }) =>
      `Use ${url.protocol}//${url.host}${url.pathname.replace(/\/$/, "")}/websocket, or a SockJS client.`,
  },
  {
    code: "signalr",
    matches: ({ text, status }) => status >= 400 && /connection id required|no connection with that id/i.test(text),
    fact: ({ said }) => `This is a SignalR server, which negotiates first: it says ${quote(said)}.`,
    remedy: "Use a SignalR client, or one with skipNegotiation set.",
  },
  {
    code: "upgrade-needs-tls",
    matches: ({ status, header }) => status === 426 && /^tls\//i.test(header("upgrade")),
    fact: ({ said }) => `The service behind the proxy refuses a client that came without TLS: it says ${quote(said)}`,
    remedy: ({ refused: { target } }) =>
      target.secure
        ? "This connection has TLS, so the proxy nearest to the service does not know it: another proxy terminates TLS in " +
          "front of it. Let that inner proxy pass X-Forwarded-Proto on in place of setting its own (nginx: " +
          "proxy_set_header X-Forwarded-Proto $http_x_forwarded_proto), or let it be set to https there."
        : `Connect with TLS: wss://${
          target.url.host.replace(/:80$/, "")
        }${target.url.pathname}, or let the proxy say ` +
          "X-Forwarded-Proto: https where another one in front of it terminates TLS.",
  },
  {
    code: "event-stream",
    matches: ({ header }) => /^text\/event-stream/i.test(header("content-type")),
    fact: "The path serves Server-Sent Events (text/event-stream), not WebSocket.",
    remedy: "Use EventSource on this path, or the service's WebSocket path.",
  },
];

/** The finding for a response that a rule recognises. */
export function recogniseService(refused: RefusedUpgrade): Finding | undefined {
  const response: Response = {
    status: refused.head.status,
    body: refused.body,
    text: plainText(refused.body),
    said: sentenceOf(refused),
    header: (name) => (refused.head.headers.get(name) ?? []).join(", "),
    refused,
  };
  const rule = RULES.find(({ matches }) => matches(response));
  if (rule === undefined) return undefined;
  const written = (value: Rule["fact"]) => typeof value === "string" ? value : value(response);
  return finding(
    rule.code,
    "error",
    `The response is ${named(response.status)}. ${written(rule.fact)}`,
    written(rule.remedy),
  );
}

function jsonOf(body: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : undefined;
  } catch {
    return undefined;
  }
}
