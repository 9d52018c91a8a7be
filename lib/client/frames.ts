/**
 * Reads and writes WebSocket frames as a client (RFC 6455 section 5). Deno's WebSocket exposes neither control frames nor
 * the handshake's response.
 * @module
 */

/** Opcodes (section 5.2). */
export const Opcode = { Continuation: 0, Text: 1, Binary: 2, Close: 8, Ping: 9, Pong: 10 } as const;

/** One frame from the server. */
export interface Frame {
  readonly final: boolean;
  readonly opcode: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A protocol violation. `code` is the close code for it. */
export class FrameError extends Error {
  override readonly name = "FrameError";
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Encodes one unfragmented frame, masked as a client's must be (section 5.3). */
export function encodeFrame(opcode: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const { length } = payload;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const frame = new Uint8Array(2 + extended + 4 + length);
  const view = new DataView(frame.buffer);
  frame[0] = 0x80 | opcode;
  frame[1] = 0x80 | (extended === 0 ? length : extended === 2 ? 126 : 127);
  if (extended === 2) view.setUint16(2, length);
  if (extended === 8) view.setBigUint64(2, BigInt(length));
  const mask = crypto.getRandomValues(frame.subarray(2 + extended, 6 + extended));
  for (let i = 0; i < length; i++) frame[6 + extended + i] = payload[i]! ^ mask[i & 3]!;
  return frame;
}

/** Decodes frames from chunks of bytes. Holds at most one frame's payload and one chunk. */
export class FrameReader {
  readonly #maxPayload: number;
  #chunks: Uint8Array[] = [];
  #size = 0;
  /** The least number of bytes for a complete next frame. */
  #need = 2;

  /** @param maxPayload the most bytes of a payload */
  constructor(maxPayload: number) {
    this.#maxPayload = maxPayload;
  }

  /** Adds bytes from the network. */
  push(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /**
   * Returns the next complete frame, or undefined if more bytes are needed.
   * @throws {FrameError} for a frame for which a client must fail the connection
   */
  next(): Frame | undefined {
    if (this.#size < this.#need) return undefined;
    const bytes = this.#joined();
    const [first, second] = [bytes[0]!, bytes[1]!];
    const opcode = first & 15;
    const final = (first & 0x80) !== 0;
    if ((first & 0x70) !== 0) throw new FrameError(1002, "a reserved bit is set without an extension");
    if (opcode > 10 || (opcode > 2 && opcode < 8)) throw new FrameError(1002, `opcode ${opcode} is reserved`);
    if ((second & 0x80) !== 0) throw new FrameError(1002, "the frame is masked, but a server must not mask frames");
    const short = second & 127;
    if (opcode >= 8 && (!final || short > 125)) {
      throw new FrameError(1002, "a control frame is fragmented or longer than 125 bytes");
    }
    const start = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (bytes.length < start) return this.#wait(start);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const length = short < 126 ? short : short === 126 ? view.getUint16(2) : Number(view.getBigUint64(2));
    if ((short === 126 && length < 126) || (short === 127 && length < 65_536)) {
      throw new FrameError(1002, "the length is not in its shortest form");
    }
    if (length > this.#maxPayload) {
      throw new FrameError(1009, `a frame of ${length} bytes is longer than ${this.#maxPayload}`);
    }
    if (bytes.length < start + length) return this.#wait(start + length);
    const payload = bytes.slice(start, start + length);
    this.#chunks = [bytes.subarray(start + length)];
    this.#size -= start + length;
    this.#need = 2;
    return { final, opcode, payload };
  }

  #wait(need: number): undefined {
    this.#need = need;
  }

  #joined(): Uint8Array {
    if (this.#chunks.length === 1) return this.#chunks[0]!;
    const joined = new Uint8Array(this.#size);
    let at = 0;
    for (const chunk of this.#chunks) {
      joined.set(chunk, at);
      at += chunk.length;
    }
    this.#chunks = [joined];
    return joined;
  }
}
