/**
 * A client's frames as bytes (RFC 6455 §5.2), right ones and wrong ones; lib/client/frames.ts reads what comes back.
 * @module
 */

import { Opcode } from "../../lib/client/frames.ts";

export { Opcode };

const encoder = new TextEncoder();

/** How a frame may differ from a whole, masked one with the shortest length. */
export interface FrameFlags {
  readonly fin?: boolean;
  /** The three reserved bits, as a number from 0 to 7. */
  readonly reserved?: number;
  /** What the header says; default: the payload's own length. */
  readonly length?: number;
}

/** A masked frame. The key is constant: it is there to be undone, not to be secret. */
export function maskedFrame(opcode: number, payload: Uint8Array, flags: FrameFlags = {}): Uint8Array<ArrayBuffer> {
  const { fin = true, reserved = 0, length = payload.length } = flags;
  const key = [0x37, 0xfa, 0x21, 0x3d];
  const size = length < 126 ? [length] : length < 65_536 ? [126, length >> 8, length & 255] : [127, ...bytesOf(length)];
  const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode, 0x80 | size[0]!, ...size.slice(1), ...key];
  const frame = new Uint8Array(head.length + payload.length);
  frame.set(head);
  for (let i = 0; i < payload.length; i++) frame[head.length + i] = payload[i]! ^ key[i & 3]!;
  return frame;
}

function bytesOf(length: number): number[] {
  const bytes = new DataView(new ArrayBuffer(8));
  bytes.setBigUint64(0, BigInt(length));
  return [...new Uint8Array(bytes.buffer)];
}

/** Text as bytes. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** A masked text frame. */
export function textFrame(text: string): Uint8Array<ArrayBuffer> {
  return maskedFrame(Opcode.Text, utf8(text));
}

/** A masked close frame; any code, or none. */
export function closeFrame(code?: number, reason: string | Uint8Array = ""): Uint8Array<ArrayBuffer> {
  if (code === undefined) return maskedFrame(Opcode.Close, new Uint8Array());
  const text = typeof reason === "string" ? utf8(reason) : reason;
  return maskedFrame(Opcode.Close, new Uint8Array([code >> 8, code & 255, ...text]));
}

/** The frame that a server sends for a payload under 64 KiB: not masked. */
export function serverFrame(opcode: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  const frame = new Uint8Array(1 + size.length + payload.length);
  frame.set([0x80 | opcode, ...size]);
  frame.set(payload, 1 + size.length);
  return frame;
}

/** The same bytes so many times. */
export function repeated(bytes: Uint8Array, times: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

/** Text of so many bytes. */
export function textOf(size: number): Uint8Array<ArrayBuffer> {
  return utf8("0123456789abcdef".repeat(Math.ceil(size / 16)).slice(0, size));
}
