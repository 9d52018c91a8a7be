/**
 * Encodes valid and invalid client frames (RFC 6455 §5.2). lib/client/frames.ts reads the service's frames.
 * @module
 */

import { Opcode } from "../../lib/client/frames.ts";

export { Opcode };

const encoder = new TextEncoder();

/** Changes to a frame. By default a frame is final and masked, and its length is in the shortest encoding. */
export interface FrameFlags {
  readonly fin?: boolean;
  /** The three reserved bits, as a number from 0 to 7. */
  readonly reserved?: number;
  /** The length in the header. Default: the length of the payload. */
  readonly length?: number;
}

/** A masked frame. The masking key is constant, because it need not be secret in tests. */
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

/** Encodes text as UTF-8. */
export function utf8(text: string): Uint8Array<ArrayBuffer> {
  return encoder.encode(text);
}

/** A masked text frame. */
export function textFrame(text: string): Uint8Array<ArrayBuffer> {
  return maskedFrame(Opcode.Text, utf8(text));
}

/** A masked close frame with any code or none. */
export function closeFrame(code?: number, reason: string | Uint8Array = ""): Uint8Array<ArrayBuffer> {
  if (code === undefined) return maskedFrame(Opcode.Close, new Uint8Array());
  const text = typeof reason === "string" ? utf8(reason) : reason;
  return maskedFrame(Opcode.Close, new Uint8Array([code >> 8, code & 255, ...text]));
}

/** The unmasked frame that a server sends for a payload under 64 KiB. */
export function serverFrame(opcode: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const size = payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255];
  const frame = new Uint8Array(1 + size.length + payload.length);
  frame.set([0x80 | opcode, ...size]);
  frame.set(payload, 1 + size.length);
  return frame;
}

/** Repeats bytes the given number of times. */
export function repeated(bytes: Uint8Array, times: number): Uint8Array<ArrayBuffer> {
  const all = new Uint8Array(bytes.length * times);
  for (let i = 0; i < times; i++) all.set(bytes, i * bytes.length);
  return all;
}

/** A text of the given number of bytes. */
export function textOf(size: number): Uint8Array<ArrayBuffer> {
  return utf8("0123456789abcdef".repeat(Math.ceil(size / 16)).slice(0, size));
}
