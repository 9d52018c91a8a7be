/**
 * A conversation over an open WebSocket: lines go out, messages come in, until one side has had enough.
 * @module
 */
import { DeadlineError, within } from "../client/deadline.ts";
import { type ClientSession, describeClose } from "../client/websocket_session.ts";
import { CloseCode } from "../close_codes.ts";
import type { Terminal } from "./terminal.ts";

/** How long the answer to a close frame is waited for, in milliseconds. */
const CLOSE_WAIT = 3000;

/** How a conversation is held. */
export interface InteractOptions {
  /** Milliseconds between pings; 0 sends none. */
  readonly ping: number;
  /** Prints a message. */
  readonly show: (data: string | Uint8Array) => void;
}

/**
 * Talks until the input ends, Ctrl-C is pressed (both close with 1000; a second Ctrl-C does not wait), or the server
 * closes.
 * @returns the exit code: 0 where either side closed in order (1000, 1001, or no code), else 1
 */
export async function interact(session: ClientSession, talk: Terminal, options: InteractOptions): Promise<number> {
  const over = new AbortController();
  const { signal } = over;
  let leaving: ReturnType<typeof setTimeout> | undefined;
  async function leave(): Promise<void> {
    if (leaving !== undefined || signal.aborted) return;
    leaving = setTimeout(() => over.abort(new DeadlineError("the close frame was not answered")), CLOSE_WAIT);
    await session.close(CloseCode.NormalClosure, "", signal);
  }
  talk.onInterrupt(() => {
    if (leaving !== undefined) over.abort(new DeadlineError("interrupted"));
    else leave().catch(() => {});
  });
  const speaking = speak(session, talk, signal).then(leave).catch(() => {});
  const pinging = options.ping > 0 ? ping(session, options.ping, signal).catch(() => {}) : undefined;
  try {
    return await listen(session, talk, options, signal);
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    talk.tell(`ended: ${error.message}`);
    return 1;
  } finally {
    clearTimeout(leaving);
    over.abort(new DeadlineError("over"));
    talk[Symbol.dispose]();
    await Promise.all([speaking, pinging]);
  }
}

async function speak(session: ClientSession, talk: Terminal, signal: AbortSignal): Promise<void> {
  for await (const line of talk.lines) await session.send(line, signal);
}

async function ping(session: ClientSession, every: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // The signal ends the wait.
    await within(every, signal, (wait) => {
      return new Promise<void>((resolve) => wait.addEventListener("abort", () => resolve(), { once: true }));
    });
    if (!signal.aborted) await session.ping(stamp(), signal);
  }
}

/** The time of sending, as a ping's payload. */
function stamp(): Uint8Array {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setFloat64(0, performance.now());
  return payload;
}

async function listen(
  session: ClientSession,
  talk: Terminal,
  { show, ping: pings }: InteractOptions,
  signal: AbortSignal,
): Promise<number> {
  while (true) {
    const event = await session.next(signal);
    switch (event.type) {
      case "message":
        show(event.data);
        break;
      case "pong":
        if (pings > 0 && event.payload.length === 8) {
          const { buffer, byteOffset } = event.payload;
          const ms = performance.now() - new DataView(buffer, byteOffset).getFloat64(0);
          if (ms >= 0) talk.tell(`pong after ${ms.toFixed(1)} ms`);
        }
        break;
      case "close": {
        talk.tell(`closed: ${describeClose(event.code, event.reason)}`);
        const orderly: readonly number[] = [
          CloseCode.NormalClosure,
          CloseCode.GoingAway,
          CloseCode.NoStatusReceived,
        ];
        return orderly.includes(event.code) ? 0 : 1;
      }
      case "end": {
        const detail = event.error === undefined ? "" : ` ${event.error}`;
        talk.tell(`closed: ${describeClose(CloseCode.AbnormalClosure, "")}${detail}`);
        return 1;
      }
      case "invalid":
        talk.tell(`closing with ${describeClose(event.code, "")}: ${event.reason}`);
        await session.close(event.code, event.reason, signal);
        return 1;
    }
  }
}
