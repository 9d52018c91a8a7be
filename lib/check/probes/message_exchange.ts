/**
 * What goes over an upgraded connection: a message, a ping and its pong, the close handshake.
 * @module
 */
import type { Finding } from "../../finding.ts";
import { CloseCode } from "../../close_codes.ts";
import { finding } from "../finding_codes.ts";
import { DeadlineError, within } from "../../client/deadline.ts";
import { quote } from "../../client/response_text.ts";
import { type ClientSession, describeClose, type EndEvent, isEnd } from "../../client/websocket_session.ts";

/** How long a pong, or the answer to a close frame, is waited for, in milliseconds. */
const CONTROL_WAIT = 3000;

/** How an exchange went; `over`: nothing more can be asked on this connection. */
export interface ExchangeResult {
  readonly findings: readonly Finding[];
  readonly over: boolean;
}

/** How long a message that nobody asked for is waited for, in milliseconds. */
const WELCOME_WAIT = 250;

/** Tells of a message that the server sends by itself, where it comes at once. */
export async function probeWelcome(session: ClientSession, outer: AbortSignal): Promise<ExchangeResult> {
  const exchange = await within(WELCOME_WAIT, outer, (signal) => probeMessage(session, {}, signal));
  return exchange.over ? exchange : {
    ...exchange,
    findings: exchange.findings.filter(({ level }) => level === "ok"),
  };
}

/** Sends `send` where there is one, and waits for `expect`, or for any message. */
export async function probeMessage(
  session: ClientSession,
  { send, expect }: { readonly send?: string; readonly expect?: string },
  signal: AbortSignal,
): Promise<ExchangeResult> {
  const start = performance.now();
  let last: string | undefined;
  try {
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
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
  }
  const sent = send === undefined ? "" : ` after ${quote(send)} was sent`;
  const found = last === undefined
    ? finding(
      "message-missing",
      "error",
      `No message came${sent}.`,
      "See whether the service answers this message, in this form, without a login before it.",
    )
    : finding(
      "message-unexpected",
      "error",
      `${last} came${sent}, not ${quote(expect ?? "")}.`,
      "See whether this is the service that was meant, in the version that was meant.",
    );
  return { findings: [found], over: false };
}

/** Sends a ping and waits for its pong. Messages that come meanwhile are passed over. */
export async function probePing(session: ClientSession, outer: AbortSignal): Promise<ExchangeResult> {
  const payload = crypto.getRandomValues(new Uint8Array(8));
  const start = performance.now();
  try {
    return await within(CONTROL_WAIT, outer, async (signal) => {
      await session.ping(payload, signal);
      while (true) {
        const event = await session.next(signal);
        if (isEnd(event)) return { findings: [ended(event)], over: true };
        if (event.type !== "pong" || !event.payload.every((byte, at) => byte === payload[at])) continue;
        if (event.payload.length !== payload.length) continue;
        const ms = Math.round(performance.now() - start);
        return { findings: [finding("ping-ok", "ok", `answered by its pong after ${ms} ms`)], over: false };
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    // The whole time was over before this probe's own.
    if (outer.aborted) return { findings: [], over: false };
    const found = finding(
      "ping-unanswered",
      "warning",
      "A ping got no pong: the service or something on the way drops control frames (RFC 6455 §5.5.2 wants the pong).",
      "Let a WebSocket library handle the frames; see what the proxy does with them.",
    );
    return { findings: [found], over: false };
  }
}

/** Closes with 1000 and waits for the answer. */
export async function probeClose(session: ClientSession, outer: AbortSignal): Promise<readonly Finding[]> {
  try {
    return await within(CONTROL_WAIT, outer, async (signal) => {
      await session.close(CloseCode.NormalClosure, "", signal);
      while (true) {
        const event = await session.next(signal);
        if (event.type === "close") return [finding("close-ok", "ok", `answered with ${event.code}`)];
        if (event.type === "end") return [closeMissing("the connection ended without one")];
        if (event.type === "invalid") return [ended(event)];
      }
    });
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    return outer.aborted ? [] : [closeMissing("nothing came back")];
  }
}

function closeMissing(how: string): Finding {
  return finding(
    "close-missing",
    "warning",
    `The close frame was not answered by one: ${how}; clients report 1006.`,
    "Let the service answer a close frame before it ends the connection (RFC 6455 §5.5.1).",
  );
}

/** What an end that nobody asked for means. */
export function ended(event: EndEvent): Finding {
  if (event.type === "close") {
    return finding(
      "closed-by-server",
      "error",
      `The server closed the connection by itself: ${describeClose(event.code, event.reason)}.`,
      "See the service's log: it wants a login, a subprotocol or a path that it was not given, or it failed.",
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
