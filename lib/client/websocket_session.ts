/**
 * The client's side of an open WebSocket. Converts frames to events, which are pulled one at a time, and answers pings.
 * @module
 */
import { CloseCode, closeMeaning, fitReason } from "../close_codes.ts";
import { encodeFrame, type Frame, FrameError, FrameReader, Opcode } from "./frames.ts";
import type { RawConnection } from "./raw_connection.ts";
import { quote } from "./printable_text.ts";

/** An event of a connection. */
export type SessionEvent =
  | { readonly type: "message"; readonly data: string | Uint8Array }
  | { readonly type: "ping" | "pong"; readonly payload: Uint8Array }
  /** A close frame. The code is 1005 if the frame had none. */
  | { readonly type: "close"; readonly code: number; readonly reason: string }
  /** The connection ended. After a close frame this is expected. */
  | { readonly type: "end"; readonly error?: string }
  /** A protocol violation. Reading stops. `code` is the close code for it. */
  | { readonly type: "invalid"; readonly code: number; readonly reason: string };

/** Events after which no message follows. */
export type EndEvent = Extract<SessionEvent, { readonly type: "close" | "end" | "invalid" }>;

/** Whether no message follows this event. */
export function isEnd(event: SessionEvent): event is EndEvent {
  return event.type === "close" || event.type === "end" || event.type === "invalid";
}

/** A close code and its reason in words: `1008 (policy violation, "too fast")`. */
export function describeClose(code: number, reason: string): string {
  return `${code} (${closeMeaning(code)}${reason === "" ? "" : `, ${quote(reason)}`})`;
}

/** The default length limit of a message, in bytes. */
const MAX_MESSAGE = 1024 * 1024;

const encoder = new TextEncoder();

/** An open WebSocket. Only one call of `next` may be pending. Writing is allowed meanwhile. */
export class ClientSession {
  readonly #connection: RawConnection;
  readonly #reader: FrameReader;
  readonly #maxMessage: number;
  #fragments: Uint8Array[] = [];
  #fragmentsOpcode: number | undefined;
  #fragmentsSize = 0;
  #closeSent = false;
  #ended = false;

  /**
   * @param rest bytes that were read after the response head
   * @param maxMessage the most bytes of a message; a longer one is an `invalid` event with 1009
   */
  constructor(connection: RawConnection, rest: Uint8Array, maxMessage: number = MAX_MESSAGE) {
    this.#connection = connection;
    this.#maxMessage = maxMessage;
    this.#reader = new FrameReader(maxMessage);
    if (rest.length > 0) this.#reader.push(rest);
  }

  /**
   * Waits for the next event. After `end` or `invalid` it returns `end` again.
   * @throws the signal's reason if it aborts first
   */
  async next(signal: AbortSignal): Promise<SessionEvent> {
    while (!this.#ended) {
      let event: SessionEvent | undefined;
      try {
        const frame = this.#reader.next();
        if (frame === undefined) {
          const chunk = await this.#connection.read(signal);
          if (chunk !== undefined) this.#reader.push(chunk);
          else this.#ended = true;
          continue;
        }
        event = this.#take(frame);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#ended = true;
        return { type: "invalid", code: error.code, reason: error.message };
      }
      if (event === undefined) continue;
      if (event.type === "ping") await this.#write(Opcode.Pong, event.payload, signal);
      if (event.type === "close" && !this.#closeSent) await this.#answerClose(event.code, signal);
      return event;
    }
    const { error } = this.#connection;
    return error === undefined ? { type: "end" } : { type: "end", error: error.message };
  }

  /** Sends a text or binary message as one frame. */
  async send(data: string | Uint8Array, signal: AbortSignal): Promise<void> {
    if (typeof data === "string") await this.#write(Opcode.Text, encoder.encode(data), signal);
    else await this.#write(Opcode.Binary, data, signal);
  }

  /** Sends a ping with a payload of at most 125 bytes. */
  async ping(payload: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#write(Opcode.Ping, payload, signal);
  }

  /** Sends a close frame once. `next` then returns the remaining events, the server's close frame and the end. */
  async close(code: number, reason: string, signal: AbortSignal): Promise<void> {
    if (this.#closeSent) return;
    const text = encoder.encode(fitReason(reason));
    const payload = new Uint8Array(2 + text.length);
    new DataView(payload.buffer).setUint16(0, code);
    payload.set(text, 2);
    await this.#write(Opcode.Close, payload, signal);
    this.#closeSent = true;
  }

  async #answerClose(code: number, signal: AbortSignal): Promise<void> {
    if (code === CloseCode.NoStatusReceived) {
      await this.#write(Opcode.Close, new Uint8Array(0), signal);
      this.#closeSent = true;
    } else await this.close(code, "", signal);
  }

  async #write(opcode: number, payload: Uint8Array, signal: AbortSignal): Promise<void> {
    // Nothing may follow a close frame (RFC 6455 section 5.5.1).
    if (this.#closeSent) return;
    await this.#connection.write(encodeFrame(opcode, payload), signal);
  }

  #take(frame: Frame): SessionEvent | undefined {
    const { opcode, payload } = frame;
    if (opcode === Opcode.Ping) return { type: "ping", payload };
    if (opcode === Opcode.Pong) return { type: "pong", payload };
    if (opcode === Opcode.Close) return closeEvent(payload);
    if (opcode === Opcode.Continuation && this.#fragmentsOpcode === undefined) {
      throw new FrameError(1002, "a continuation frame without a message to continue");
    }
    if (opcode !== Opcode.Continuation) {
      if (this.#fragmentsOpcode !== undefined) {
        throw new FrameError(1002, "a new message begins before the last fragment of another");
      }
      this.#fragmentsOpcode = opcode;
    }
    this.#fragmentsSize += payload.length;
    if (this.#fragmentsSize > this.#maxMessage) {
      throw new FrameError(1009, `a message is longer than ${this.#maxMessage} bytes`);
    }
    if (payload.length > 0) this.#fragments.push(payload);
    return frame.final ? this.#message() : undefined;
  }

  #message(): SessionEvent {
    const bytes = new Uint8Array(this.#fragmentsSize);
    let at = 0;
    for (const part of this.#fragments) {
      bytes.set(part, at);
      at += part.length;
    }
    const text = this.#fragmentsOpcode === Opcode.Text;
    this.#fragments = [];
    this.#fragmentsSize = 0;
    this.#fragmentsOpcode = undefined;
    return { type: "message", data: text ? decode(bytes, "a text message is not valid UTF-8") : bytes };
  }
}

function closeEvent(payload: Uint8Array): SessionEvent {
  if (payload.length === 0) return { type: "close", code: CloseCode.NoStatusReceived, reason: "" };
  if (payload.length === 1) throw new FrameError(1002, "a close frame with half a close code");
  const code = (payload[0]! << 8) | payload[1]!;
  return { type: "close", code, reason: decode(payload.subarray(2), "a close reason is not valid UTF-8") };
}

function decode(bytes: Uint8Array, problem: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new FrameError(1007, problem);
  }
}
