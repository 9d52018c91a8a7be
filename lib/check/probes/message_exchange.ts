/**
 * Probes an upgraded connection: a message, a ping and its pong, the close handshake.
 * @module
 */
import type { Finding } from "../../diagnostic_finding.ts";
import { CloseCode } from "../../close_codes.ts";
import { finding } from "../finding_codes.ts";
import { awaitReply, formatWait } from "./await_reply.ts";
import { quote } from "../../client/printable_text.ts";
import { type ClientSession, describeClose, type EndEvent, isEnd } from "../../client/websocket_session.ts";

/** How long to wait for a pong or for the answer to a close frame, in milliseconds. */
const CONTROL_FRAME_WAIT = 3000;

/** The result of a probe. */
export interface ExchangeResult {
  readonly findings: readonly Finding[];
  /** Whether the connection has ended, so that later probes cannot use it. */
  readonly ended: boolean;
}

/** How long to wait for a message that the server sends first, in milliseconds. */
const WELCOME_WAIT = 250;

/** Reports a message that the server sends first, soon after the upgrade, if there is one. */
export async function probeWelcome(
  session: ClientSession,
  upgradedAt: number,
  outer: AbortSignal,
): Promise<ExchangeResult> {
  const remaining = Math.max(0, upgradedAt + WELCOME_WAIT - performance.now());
  const result = await probeMessage(session, {}, remaining, outer);
  return result.ended ? result : { ...result, findings: result.findings.filter(({ level }) => level === "ok") };
}

/** Sends `send` if it is given. Then waits up to `timeout` milliseconds for `expect`, or for any message if it is not given. */
export async function probeMessage(
  session: ClientSession,
  { send, expect }: { readonly send?: string | undefined; readonly expect?: string | undefined },
  timeout: number,
  outer: AbortSignal,
): Promise<ExchangeResult> {
  const start = performance.now();
  let last: string | undefined;
  return await awaitReply<ExchangeResult>(timeout, outer, async (signal) => {
    if (send !== undefined) await session.send(send, signal);
    while (true) {
      const event = await session.next(signal);
      if (isEnd(event)) return { findings: [explainEnd(event)], ended: true };
      if (event.type !== "message") continue;
      const text = typeof event.data === "string" ? quote(event.data) : `${event.data.length} bytes`;
      if (expect === undefined || event.data === expect) {
        const ms = Math.round(performance.now() - start);
        return { findings: [finding("message-ok", "ok", `${text} arrived after ${ms} ms`)], ended: false };
      }
      last = text;
    }
  }, (waited) => ({ findings: [explainMissing(send, expect, last, waited)], ended: false }));
}

function explainMissing(
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
      `No message arrived${sent} within ${formatWait(waited)}.`,
      "Check whether the service answers this message in this form, without a login before it.",
    )
    : finding(
      "message-unexpected",
      "error",
      `${last} arrived${sent}, not ${quote(expect ?? "")}.`,
      "Check whether this is the intended service, and the intended version of it.",
    );
}

/** Sends a ping and waits for its pong. Messages that arrive before it are ignored. */
export async function probePing(session: ClientSession, outer: AbortSignal): Promise<ExchangeResult> {
  const payload = crypto.getRandomValues(new Uint8Array(8));
  const start = performance.now();
  return await awaitReply<ExchangeResult>(CONTROL_FRAME_WAIT, outer, async (signal) => {
    await session.ping(payload, signal);
    while (true) {
      const event = await session.next(signal);
      if (isEnd(event)) return { findings: [explainEnd(event)], ended: true };
      if (event.type !== "pong" || !event.payload.every((byte, at) => byte === payload[at])) continue;
      if (event.payload.length !== payload.length) continue;
      const ms = Math.round(performance.now() - start);
      return { findings: [finding("ping-ok", "ok", `answered by its pong after ${ms} ms`)], ended: false };
    }
  }, () => ({ findings: [missingPong()], ended: false }));
}

function missingPong(): Finding {
  return finding(
    "ping-unanswered",
    "warning",
    "The server did not answer a ping with a pong: the service or a proxy drops control frames (RFC 6455 section 5.5.2 " +
      "requires the pong).",
    "Use a WebSocket library to handle the frames, and check how the proxy handles them.",
  );
}

/** Closes with 1000 and waits for the answer. */
export async function probeClose(session: ClientSession, outer: AbortSignal): Promise<readonly Finding[]> {
  return await awaitReply<readonly Finding[]>(CONTROL_FRAME_WAIT, outer, async (signal) => {
    await session.close(CloseCode.NormalClosure, "", signal);
    while (true) {
      const event = await session.next(signal);
      if (event.type === "close") return [finding("close-ok", "ok", `answered with ${event.code}`)];
      if (event.type === "end") return [closeMissing("the connection ended")];
      if (event.type === "invalid") return [explainEnd(event)];
    }
  }, () => [closeMissing("the connection stayed open")]);
}

function closeMissing(how: string): Finding {
  return finding(
    "close-missing",
    "warning",
    `The server did not answer the close frame: ${how}. Clients report 1006.`,
    "Make the service answer a close frame before it ends the connection (RFC 6455 section 5.5.1).",
  );
}

/** Explains why the server ended the connection. */
export function explainEnd(event: EndEvent): Finding {
  if (event.type === "close") {
    return finding(
      "closed-by-server",
      "error",
      `The server closed the connection: ${describeClose(event.code, event.reason)}.`,
      closeRemedy(event.code, event.reason),
    );
  }
  if (event.type === "end") {
    return finding(
      "connection-lost",
      "error",
      `The connection ended without a close frame${event.error === undefined ? "" : ` (${event.error})`}.`,
      "Check the service's log at this time. A proxy that restarts or times out also causes this.",
    );
  }
  return finding(
    "frame-invalid",
    "error",
    `The server sent an invalid WebSocket frame: ${event.reason}.`,
    "Use a WebSocket library to write the frames, and let nothing else write to the connection.",
  );
}

/** Whether a close frame names a cause other than an idle connection: not 1000, 1001 or a reason about inactivity. */
export function namesOtherCause(code: number, reason: string): boolean {
  return code >= 1002 && !/idle|inactiv|time-?d? ?out|ping|pong|heartbeat/i.test(reason);
}

/** Returns the remedy for a close code (RFC 6455 section 7.4.1, the IANA registry, graphql-ws and common services). */
export function closeRemedy(code: number, reason: string): string {
  const credentials =
    "Send the credentials that the service expects: --header 'Authorization: Bearer …', a cookie, a " +
    "token in the URL's query, or a first message: --send TEXT.";
  if (/sub-?protocol/i.test(reason) || code === 4406) {
    return "Offer the subprotocol that the service expects: --subprotocol NAME.";
  }
  if ([1008, 3000, 3003, 4001, 4003, 4400, 4401, 4403, 4408].includes(code)) {
    return /origin/i.test(reason) ? "Send an origin that the service accepts: --origin https://the.page" : credentials;
  }
  if (code === 1001 || code === 1012) {
    return "The service is stopping or restarting: try again in a moment, and check its log.";
  }
  if (code === 1013 || code === 4429) {
    return "The service is overloaded or limits this address: wait, and reconnect less often.";
  }
  if (code === 1011) return "The service failed after the upgrade: check its log at this time.";
  if (code === 1002 || code === 1007) {
    return "The service found a protocol violation: check its log, and whether a proxy changes the frames.";
  }
  if (code === 1003 || code === 1009) {
    return "The service refused the message: send a type and size that it accepts.";
  }
  if (code === 1014) return "The proxy lost its connection to the service: check whether the service is running.";
  return "Check the service's log: it requires a login, a subprotocol or another path, or it failed.";
}
