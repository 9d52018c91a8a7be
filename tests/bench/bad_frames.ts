/**
 * Frames that RFC 6455 §5 forbids.
 * @module
 */
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";

const short = textOf(8);

/** Each stands for one rule. */
export const BAD_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [
  // Reserved bits without an extension.
  ...[1, 2, 4].map((reserved) => maskedFrame(Opcode.Text, short, { reserved })),
  // Reserved opcodes.
  ...[3, 7, 11, 15].map((opcode) => maskedFrame(opcode, short)),
  // Not masked.
  serverFrame(Opcode.Text, short),
  // Not UTF-8.
  maskedFrame(Opcode.Text, new Uint8Array([0xc3, 0x28])),
  // A control frame in fragments, and one that is too long.
  maskedFrame(Opcode.Ping, short, { fin: false }),
  maskedFrame(Opcode.Ping, textOf(126)),
  // Close codes that are not allowed in a close frame, and a close frame with half a code.
  ...[[0x03, 0xed], [0x03, 0xee], [0, 0]].map((code) => maskedFrame(Opcode.Close, new Uint8Array(code))),
  maskedFrame(Opcode.Close, new Uint8Array([3])),
  // A continuation of nothing, and a new message inside another.
  maskedFrame(Opcode.Continuation, short),
  new Uint8Array([...maskedFrame(Opcode.Text, short, { fin: false }), ...maskedFrame(Opcode.Text, short)]),
];
