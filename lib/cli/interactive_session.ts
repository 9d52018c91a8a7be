/**
 * An interactive session on an open WebSocket: sends lines and prints messages until one side closes.
 * @module
 */
import { DeadlineError, within } from "../client/deadline.ts";
import { quote } from "../client/printable_text.ts";
import { type ClientSession, describeClose } from "../client/websocket_session.ts";
import { CloseCode, isSendable } from "../close_codes.ts";
import { messageOf } from "../errors.ts";
import { parseHex } from "./message_format.ts";
import type { Terminal } from "./terminal.ts";

/** How long to wait for the server's close frame, in milliseconds. */
const CLOSE_WAIT = 3000;

/** Options of {@link interact}. */
export interface InteractOptions {
  /** Milliseconds between pings; 0 sends none. */
  readonly ping: number;
  /** Prints a received message. */
  readonly show: (data: string | Uint8Array) => void;
}

/**
 * Runs until the input ends or Ctrl-C is pressed (both close with 1000; a second Ctrl-C does not wait), or until the
 * server closes.
 * @returns the exit code: 0 after a normal close by either side (1000, 1001, or no code), else 1
 */
export async function interact(session: ClientSession, talk: Terminal, options: InteractOptions): Promise<number> {
  const over = new AbortController();
  const { signal } = over;
  let leaving: ReturnType<typeof setTimeout> | undefined;
  async function leave(): Promise<void> {
    if (leaving !== undefined || signal.aborted) return;
    leaving = setTimeout(() => over.abort(new DeadlineError("the close frame was not answered")), CLOSE_WAIT);
    // Not sent if /close has sent one already.
    await session.close(CloseCode.NormalClosure, "", signal);
  }
  talk.onInterrupt(() => {
    if (leaving !== undefined) over.abort(new DeadlineError("interrupted"));
    else leave().catch(() => {});
  });
  const sending = sendLines(session, talk, signal).then(leave).catch(() => {});
  const pinging = options.ping > 0 ? ping(session, options.ping, signal).catch(() => {}) : undefined;
  try {
    return await receive(session, talk, options, signal);
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    talk.tell(`ended: ${error.message}`);
    return 1;
  } finally {
    clearTimeout(leaving);
    over.abort(new DeadlineError("over"));
    talk[Symbol.dispose]();
    await Promise.all([sending, pinging]);
  }
}

/** Sends lines as messages; on a terminal some are commands. @returns when the input ends or a command has closed */
async function sendLines(session: ClientSession, talk: Terminal, signal: AbortSignal): Promise<void> {
  for await (const line of talk.lines) {
    const command = talk.isTerminal ? /^\/(file|hex|ping|close|help)(?:\s+(.*?))?\s*$/.exec(line) : null;
    if (command === null) {
      // Two slashes send a line that begins with one slash; commands of the app (/join) are sent unchanged.
      await session.send(talk.isTerminal && line.startsWith("//") ? line.slice(1) : line, signal);
      continue;
    }
    try {
      await runCommand(command[1]!, command[2] ?? "", session, talk, signal);
      if (command[1] === "close") return;
    } catch (error) {
      if (error instanceof DeadlineError) throw error;
      talk.tell(`/${command[1]}: ${messageOf(error)}`);
    }
  }
}

const HELP = `/file PATH              send a file as a binary message
/hex BYTES              send bytes: /hex 00 ff 10
/ping [TEXT]            send a ping
/close [CODE [REASON]]  close, with 1000 where no code is given
/help                   show this
//TEXT                  send TEXT with one slash before it`;

async function runCommand(
  name: string,
  argument: string,
  session: ClientSession,
  talk: Terminal,
  signal: AbortSignal,
): Promise<void> {
  switch (name) {
    case "file": {
      if (argument === "") throw new RangeError("a path is needed: /file PATH");
      const bytes = await Deno.readFile(argument);
      await session.send(bytes, signal);
      return talk.tell(`sent ${bytes.length} bytes`);
    }
    case "hex": {
      const bytes = parseHex(argument);
      await session.send(bytes, signal);
      return talk.tell(`sent ${bytes.length} bytes`);
    }
    case "ping": {
      const payload = argument === "" ? stamp() : new TextEncoder().encode(argument);
      if (payload.length > 125) throw new RangeError(`a ping carries 125 bytes at most, not ${payload.length}`);
      return await session.ping(payload, signal);
    }
    case "close": {
      const [, code = "1000", reason = ""] = /^(\S*)\s*(.*)$/.exec(argument === "" ? "1000" : argument) ?? [];
      if (!isSendable(Number(code))) throw new RangeError(`a close code is 1000 to 1014 or 3000 to 4999, not ${code}`);
      return await session.close(Number(code), reason, signal);
    }
    default:
      talk.tell(HELP);
  }
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

function describePong(payload: Uint8Array): string {
  const sent = payload.length === 8 ? new DataView(payload.buffer, payload.byteOffset).getFloat64(0) : NaN;
  const ms = performance.now() - sent;
  return ms >= 0 ? `pong after ${ms.toFixed(1)} ms` : `pong ${quote(new TextDecoder().decode(payload))}`;
}

async function receive(
  session: ClientSession,
  talk: Terminal,
  { show }: InteractOptions,
  signal: AbortSignal,
): Promise<number> {
  while (true) {
    const event = await session.next(signal);
    switch (event.type) {
      case "message":
        show(event.data);
        break;
      case "pong":
        talk.tell(describePong(event.payload));
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
