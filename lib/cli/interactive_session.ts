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

/** Options of {@link runInteractiveSession}. */
export interface InteractiveSessionOptions {
  /** Milliseconds between pings; 0 sends none. */
  readonly ping: number;
  /** Prints a received message. */
  readonly printMessage: (data: string | Uint8Array) => void;
}

/**
 * Runs until the input ends or Ctrl-C is pressed (both close with 1000; a second Ctrl-C does not wait), or until the
 * server closes.
 * @returns the exit code: 0 after a normal close by either side (1000, 1001, or no code), else 1
 */
export async function runInteractiveSession(
  session: ClientSession,
  terminal: Terminal,
  options: InteractiveSessionOptions,
): Promise<number> {
  const ended = new AbortController();
  const { signal } = ended;
  let closeTimer: ReturnType<typeof setTimeout> | undefined;
  async function close(): Promise<void> {
    if (closeTimer !== undefined || signal.aborted) return;
    closeTimer = setTimeout(
      () => ended.abort(new DeadlineError("the server did not answer the close frame")),
      CLOSE_WAIT,
    );
    // Does nothing if /close has already sent a close frame.
    await session.close(CloseCode.NormalClosure, "", signal);
  }
  terminal.onInterrupt(() => {
    if (closeTimer !== undefined) ended.abort(new DeadlineError("interrupted"));
    else close().catch(() => {});
  });
  const sending = sendLines(session, terminal, signal).then(close).catch(() => {});
  const pinging = options.ping > 0 ? sendPings(session, options.ping, signal).catch(() => {}) : undefined;
  try {
    return await printEvents(session, terminal, options, signal);
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    terminal.printStatus(`ended: ${error.message}`);
    return 1;
  } finally {
    clearTimeout(closeTimer);
    ended.abort(new DeadlineError("the session has ended"));
    terminal[Symbol.dispose]();
    await Promise.all([sending, pinging]);
  }
}

/**
 * Sends lines as messages. On a terminal, lines such as /ping are commands. Resolves when the input ends, or when /close
 * has closed the connection.
 */
async function sendLines(session: ClientSession, terminal: Terminal, signal: AbortSignal): Promise<void> {
  for await (const line of terminal.lines) {
    const command = terminal.isTerminal ? /^\/(file|hex|ping|close|help)(?:\s+(.*?))?\s*$/.exec(line) : null;
    if (command === null) {
      // //help sends /help. Commands of the app (/join) are sent unchanged.
      await session.send(terminal.isTerminal && line.startsWith("//") ? line.slice(1) : line, signal);
      continue;
    }
    try {
      await runCommand(command[1]!, command[2] ?? "", session, terminal, signal);
      if (command[1] === "close") return;
    } catch (error) {
      if (error instanceof DeadlineError) throw error;
      terminal.printStatus(`/${command[1]}: ${messageOf(error)}`);
    }
  }
}

const HELP = `/file PATH              send a file as a binary message
/hex BYTES              send bytes: /hex 00 ff 10
/ping [TEXT]            send a ping
/close [CODE [REASON]]  close with the code, or with 1000
/help                   show this
//TEXT                  send TEXT with one slash before it`;

async function runCommand(
  name: string,
  argument: string,
  session: ClientSession,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<void> {
  switch (name) {
    case "file": {
      if (argument === "") throw new RangeError("a path is required: /file PATH");
      const bytes = await Deno.readFile(argument);
      await session.send(bytes, signal);
      return terminal.printStatus(`sent ${bytes.length} bytes`);
    }
    case "hex": {
      const bytes = parseHex(argument);
      await session.send(bytes, signal);
      return terminal.printStatus(`sent ${bytes.length} bytes`);
    }
    case "ping": {
      const payload = argument === "" ? encodeTimestamp() : new TextEncoder().encode(argument);
      if (payload.length > 125) throw new RangeError(`a ping has at most 125 bytes, not ${payload.length}`);
      return await session.ping(payload, signal);
    }
    case "close": {
      const [, code = "1000", reason = ""] = /^(\S*)\s*(.*)$/.exec(argument === "" ? "1000" : argument) ?? [];
      if (!isSendable(Number(code))) {
        throw new RangeError(`the close code must be 1000 to 1014 or 3000 to 4999, not ${code}`);
      }
      return await session.close(Number(code), reason, signal);
    }
    default:
      terminal.printStatus(HELP);
  }
}

async function sendPings(session: ClientSession, interval: number, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    // The timer of `within` aborts the inner signal.
    await within(interval, signal, (wait) => {
      return new Promise<void>((resolve) => wait.addEventListener("abort", () => resolve(), { once: true }));
    });
    if (!signal.aborted) await session.ping(encodeTimestamp(), signal);
  }
}

/** Encodes the current time as the payload of a ping. */
function encodeTimestamp(): Uint8Array {
  const payload = new Uint8Array(8);
  new DataView(payload.buffer).setFloat64(0, performance.now());
  return payload;
}

function describePong(payload: Uint8Array): string {
  const sent = payload.length === 8 ? new DataView(payload.buffer, payload.byteOffset).getFloat64(0) : NaN;
  const ms = performance.now() - sent;
  return ms >= 0 ? `pong after ${ms.toFixed(1)} ms` : `pong ${quote(new TextDecoder().decode(payload))}`;
}

async function printEvents(
  session: ClientSession,
  terminal: Terminal,
  { printMessage }: InteractiveSessionOptions,
  signal: AbortSignal,
): Promise<number> {
  while (true) {
    const event = await session.next(signal);
    switch (event.type) {
      case "message":
        printMessage(event.data);
        break;
      case "pong":
        terminal.printStatus(describePong(event.payload));
        break;
      case "close": {
        terminal.printStatus(`closed: ${describeClose(event.code, event.reason)}`);
        const normal: readonly number[] = [
          CloseCode.NormalClosure,
          CloseCode.GoingAway,
          CloseCode.NoStatusReceived,
        ];
        return normal.includes(event.code) ? 0 : 1;
      }
      case "end": {
        const detail = event.error === undefined ? "" : ` ${event.error}`;
        terminal.printStatus(`closed: ${describeClose(CloseCode.AbnormalClosure, "")}${detail}`);
        return 1;
      }
      case "invalid":
        terminal.printStatus(`closing with ${describeClose(event.code, "")}: ${event.reason}`);
        await session.close(event.code, event.reason, signal);
        return 1;
    }
  }
}
