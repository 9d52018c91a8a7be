/**
 * A client's side of an upgraded connection: frames become events, pulled one at a time; pings are answered.
 * @module
 */
import { CloseCode, fitReason } from "../close_codes.ts";
import type { RawConnection } from "./raw_connection.ts";
import { encodeFrame, type Frame, FrameError, FrameReader, Opcode } from "./frames.ts";

/** What happens on a connection. */
export type SessionEvent =
  | { readonly type: "message"; readonly data: string | Uint8Array }
  | { readonly type: "ping" | "pong"; readonly payload: Uint8Array }
  /** A close frame came; 1005 where it carried no code. */
  | { readonly type: "close"; readonly code: number; readonly reason: string }
  /** The connection ended; after a close frame that is as it should be. */
  | { readonly type: "end"; readonly error?: string }
  /** What came is not allowed; nothing more is read. */
  | { readonly type: "invalid"; readonly code: number; readonly fact: string };

/** How long a message may be by default, in bytes. */
const MOST_MESSAGE = 1024 * 1024;

const encoder = new TextEncoder();

/** One upgraded connection. One caller of `next` at a time; writing meanwhile is fine. */
export class ClientSession {
  readonly #connection: RawConnection;
  readonly #reader: FrameReader;
  readonly #most: number;
  #parts: Uint8Array[] = [];
  #partsOpcode: number | undefined;
  #partsSize = 0;
  #closeSent = false;
  #over = false;

  /**
   * @param rest bytes that came behind the handshake's head
   * @param most the longest message taken, in bytes; a longer one is an `invalid` event with 1009
   */
  constructor(connection: RawConnection, rest: Uint8Array, most: number = MOST_MESSAGE) {
    this.#connection = connection;
    this.#most = most;
    this.#reader = new FrameReader(most);
    if (rest.length > 0) this.#reader.push(rest);
  }

  /**
   * The next event; after `end` or `invalid` there is none, and `end` is returned again.
   * @throws the signal's reason when it aborts first
   */
  async next(signal: AbortSignal): Promise<SessionEvent> {
    while (!this.#over) {
      let event: SessionEvent | undefined;
      try {
        const frame = this.#reader.next();
        if (frame === undefined) {
          const chunk = await this.#connection.read(signal);
          if (chunk !== undefined) this.#reader.push(chunk);
          else this.#over = true;
          continue;
        }
        event = this.#take(frame);
      } catch (error) {
        if (!(error instanceof FrameError)) throw error;
        this.#over = true;
        return { type: "invalid", code: error.code, fact: error.message };
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

  /** Sends a ping; its payload is at most 125 bytes. */
  async ping(payload: Uint8Array, signal: AbortSignal): Promise<void> {
    await this.#write(Opcode.Ping, payload, signal);
  }

  /** Sends a close frame, once; `next` then yields what still comes, the answering close frame and the end. */
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
    // Nothing may follow a close frame (RFC 6455 §5.5.1).
    if (this.#closeSent) return;
    await this.#connection.write(encodeFrame(opcode, payload), signal);
  }

  #take(frame: Frame): SessionEvent | undefined {
    const { opcode, payload } = frame;
    if (opcode === Opcode.Ping) return { type: "ping", payload };
    if (opcode === Opcode.Pong) return { type: "pong", payload };
    if (opcode === Opcode.Close) return closeEvent(payload);
    if (opcode === Opcode.Continuation && this.#partsOpcode === undefined) {
      throw new FrameError(1002, "a continuation frame continues nothing");
    }
    if (opcode !== Opcode.Continuation) {
      if (this.#partsOpcode !== undefined) {
        throw new FrameError(1002, "a message begins inside another one's fragments");
      }
      this.#partsOpcode = opcode;
    }
    this.#partsSize += payload.length;
    if (this.#partsSize > this.#most) {
      throw new FrameError(1009, `a message is over the ${this.#most} bytes taken here`);
    }
    if (payload.length > 0) this.#parts.push(payload);
    return frame.final ? this.#message() : undefined;
  }

  #message(): SessionEvent {
    const bytes = new Uint8Array(this.#partsSize);
    let at = 0;
    for (const part of this.#parts) {
      bytes.set(part, at);
      at += part.length;
    }
    const text = this.#partsOpcode === Opcode.Text;
    this.#parts = [];
    this.#partsSize = 0;
    this.#partsOpcode = undefined;
    return { type: "message", data: text ? decode(bytes, "a text message is not valid UTF-8") : bytes };
  }
}

function closeEvent(payload: Uint8Array): SessionEvent {
  if (payload.length === 0) return { type: "close", code: CloseCode.NoStatusReceived, reason: "" };
  if (payload.length === 1) throw new FrameError(1002, "a close frame has half a code");
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
