/**
 * What goes over an upgraded connection: a message, a ping and its pong, the close handshake.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { CloseCode } from "../../close_codes.ts";
import { finding } from "../finding_codes.ts";
import { awaitReply, seconds } from "./await_reply.ts";
import { quote } from "../../client/printable_text.ts";
import { type ClientSession, describeClose, type EndEvent, isEnd } from "../../client/websocket_session.ts";

/** How long a pong, or the answer to a close frame, is waited for, in milliseconds. */
const CONTROL_WAIT = 3000;

/** How an exchange went; `over`: nothing more can be asked on this connection. */
export interface ExchangeResult {
  readonly findings: readonly Finding[];
  readonly over: boolean;
}

/** How long to wait for a message that the server sends by itself, in milliseconds. */
const WELCOME_WAIT = 250;

/** Reports a message that the server sends by itself soon after the upgrade, if there is one. */
export async function probeWelcome(
  session: ClientSession,
  since: number,
  outer: AbortSignal,
): Promise<ExchangeResult> {
  const left = Math.max(0, since + WELCOME_WAIT - performance.now());
  const result = await probeMessage(session, {}, left, outer);
  return result.over ? result : { ...result, findings: result.findings.filter(({ level }) => level === "ok") };
}

/** Sends `send` where there is one, and waits `patience` milliseconds for `expect`, or for any message. */
export async function probeMessage(
  session: ClientSession,
  { send, expect }: { readonly send?: string | undefined; readonly expect?: string | undefined },
  patience: number,
  outer: AbortSignal,
): Promise<ExchangeResult> {
  const start = performance.now();
  let last: string | undefined;
  return await awaitReply<ExchangeResult>(patience, outer, async (signal) => {
    if (send !== undefined) await session.send(send, signal);
    while (true) {
      const event = await session.next(signal);
      if (isEnd(event)) return { findings: [ended(event)], over: true };
      if (event.type !== "message") continue;
      const text = typeof event.data === "string" ? quote(event.data) : `${event.data.length} bytes`;
      if (expect === undefined || event.data === expect) {
        const ms = Math.round(performance.now() - start);
        return { findings: [finding("message-ok", "ok", `${text} came after ${ms} ms`)], over: false };
      }
      last = text;
    }
  }, (waited) => ({ findings: [missing(send, expect, last, waited)], over: false }));
}

function missing(
  send: string | undefined,
  expect: string | undefined,
  last: string | undefined,
  waited: number,
): Finding {
  const sent = send === undefined ? "" : ` after ${quote(send)} was sent`;
  return last === undefined
    ? finding(
      "message-missing",
      "error",
      `No message came${sent} within ${seconds(waited)}.`,
      "See whether the service answers this message, in this form, without a login before it.",
    )
    : finding(
      "message-unexpected",
      "error",
      `${last} came${sent}, not ${quote(expect ?? "")}.`,
      "See whether this is the service that was meant, in the version that was meant.",
    );
}

/** Sends a ping and waits for its pong. Messages that come meanwhile are passed over. */
export async function probePing(session: ClientSession, outer: AbortSignal): Promise<ExchangeResult> {
  const payload = crypto.getRandomValues(new Uint8Array(8));
  const start = performance.now();
  return await awaitReply<ExchangeResult>(CONTROL_WAIT, outer, async (signal) => {
    await session.ping(payload, signal);
    while (true) {
      const event = await session.next(signal);
      if (isEnd(event)) return { findings: [ended(event)], over: true };
      if (event.type !== "pong" || !event.payload.every((byte, at) => byte === payload[at])) continue;
      if (event.payload.length !== payload.length) continue;
      const ms = Math.round(performance.now() - start);
      return { findings: [finding("ping-ok", "ok", `answered by its pong after ${ms} ms`)], over: false };
    }
  }, () => ({ findings: [pongMissing()], over: false }));
}

function pongMissing(): Finding {
  return finding(
    "ping-unanswered",
    "warning",
    "A ping got no pong: the service or something on the way drops control frames (RFC 6455 section 5.5.2 wants the " +
      "pong).",
    "Let a WebSocket library handle the frames; see what the proxy does with them.",
  );
}

/** Closes with 1000 and waits for the answer. */
export async function probeClose(session: ClientSession, outer: AbortSignal): Promise<readonly Finding[]> {
  return await awaitReply<readonly Finding[]>(CONTROL_WAIT, outer, async (signal) => {
    await session.close(CloseCode.NormalClosure, "", signal);
    while (true) {
      const event = await session.next(signal);
      if (event.type === "close") return [finding("close-ok", "ok", `answered with ${event.code}`)];
      if (event.type === "end") return [closeMissing("the connection ended without one")];
      if (event.type === "invalid") return [ended(event)];
    }
  }, () => [closeMissing("nothing came back")]);
}

function closeMissing(how: string): Finding {
  return finding(
    "close-missing",
    "warning",
    `The close frame was not answered by one: ${how}; clients report 1006.`,
    "Let the service answer a close frame before it ends the connection (RFC 6455 section 5.5.1).",
  );
}

/** What it means that the server ended the connection. */
export function ended(event: EndEvent): Finding {
  if (event.type === "close") {
    return finding(
      "closed-by-server",
      "error",
      `The server closed the connection by itself: ${describeClose(event.code, event.reason)}.`,
      closeRemedy(event.code, event.reason),
    );
  }
  if (event.type === "end") {
    return finding(
      "connection-lost",
      "error",
      `The connection ended without a close frame${event.error === undefined ? "" : ` (${event.error})`}.`,
      "See the service's log at this time; a proxy in front that is restarted or gives up does this too.",
    );
  }
  return finding(
    "frame-invalid",
    "error",
    `The server sent what is no valid WebSocket frame: ${event.reason}.`,
    "Let a WebSocket library write the frames, and nothing else write to the connection.",
  );
}

/** What a close code asks for (RFC 6455 section 7.4.1, the IANA registry, graphql-ws and what services make of them). */
function closeRemedy(code: number, reason: string): string {
  const credentials =
    "Send the credentials that the service expects: --header 'Authorization: Bearer …', a cookie, a " +
    "token in the URL's query, or a first message: --send TEXT.";
  if (/sub-?protocol/i.test(reason) || code === 4406) {
    return "Offer the subprotocol that the service expects: --subprotocol NAME.";
  }
  if ([1008, 3000, 3003, 4001, 4003, 4400, 4401, 4403, 4408].includes(code)) {
    return /origin/i.test(reason) ? "Send an origin that the service takes: --origin https://the.page" : credentials;
  }
  if (code === 1001 || code === 1012) return "The service stops or restarts: try again in a moment, and see its log.";
  if (code === 1013 || code === 4429) {
    return "The service is overloaded or limits this address: wait, and reconnect less often.";
  }
  if (code === 1011) return "The service failed after the upgrade: see its log at this time.";
  if (code === 1002 || code === 1007) {
    return "The service saw a violation of the protocol: see whether something on the way changes the frames, and its log.";
  }
  if (code === 1003 || code === 1009) {
    return "The service did not take the message: send the kind and size that it takes.";
  }
  if (code === 1014) return "The proxy lost the service behind it: see whether that runs.";
  return "See the service's log: it wants a login, a subprotocol or a path that it was not given, or it failed.";
}
