/**
 * Frames that RFC 6455 §5 forbids.
 * @module
 */
import { maskedFrame, Opcode, serverFrame, textOf } from "../support/frames.ts";

const short = textOf(8);

/** Each frame breaks one rule. */
export const BAD_FRAMES: readonly Uint8Array<ArrayBuffer>[] = [
  // Reserved bits set without an extension.
  ...[1, 2, 4].map((reserved) => maskedFrame(Opcode.Text, short, { reserved })),
  // Reserved opcodes.
  ...[3, 7, 11, 15].map((opcode) => maskedFrame(opcode, short)),
  // Not masked.
  serverFrame(Opcode.Text, short),
  // Not UTF-8.
  maskedFrame(Opcode.Text, new Uint8Array([0xc3, 0x28])),
  // A fragmented control frame, and a control frame that is too long.
  maskedFrame(Opcode.Ping, short, { fin: false }),
  maskedFrame(Opcode.Ping, textOf(126)),
  // Close codes that must not be sent in a close frame, and a close frame with only one byte of a code.
  ...[[0x03, 0xed], [0x03, 0xee], [0, 0]].map((code) => maskedFrame(Opcode.Close, new Uint8Array(code))),
  maskedFrame(Opcode.Close, new Uint8Array([3])),
  // A continuation frame without a message to continue, and a new message before the end of a fragmented one.
  maskedFrame(Opcode.Continuation, short),
  new Uint8Array([...maskedFrame(Opcode.Text, short, { fin: false }), ...maskedFrame(Opcode.Text, short)]),
];
