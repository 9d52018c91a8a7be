/** The frame codec: it writes valid frames of a client, and refuses invalid frames of a server. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { encodeFrame, FrameError, FrameReader, Opcode } from "../../lib/client/frames.ts";

/** A frame in the format of a server, which does not mask frames. */
function serverFrame(first: number, payload: Uint8Array, length?: number[]): Uint8Array {
  const size = length ?? (payload.length < 126 ? [payload.length] : [126, payload.length >> 8, payload.length & 255]);
  return new Uint8Array([first, ...size, ...payload]);
}

Deno.test("masks written frames, and encodes their length in the shortest form", () => {
  for (const length of [0, 1, 125, 126, 127, 65_535, 65_536, 70_000]) {
    const payload = new Uint8Array(length).map((_, at) => at & 255);
    const frame = encodeFrame(Opcode.Binary, payload);
    assert((frame[1]! & 0x80) !== 0);
    const header = frame.length - length - 4;
    assertEquals(header, length < 126 ? 2 : length < 65_536 ? 4 : 10);
    const mask = frame.subarray(header, header + 4);
    assertEquals(frame.slice(header + 4).map((byte, at) => byte ^ mask[at & 3]!), payload);
  }
});

Deno.test("reads frames from chunks of any size", () => {
  const payload = new Uint8Array(300).fill(7);
  const bytes = new Uint8Array([...serverFrame(0x82, payload), ...serverFrame(0x89, new Uint8Array([1, 2])), 0x81, 0]);
  for (const step of [1, 2, 3, 7, 100, bytes.length]) {
    const reader = new FrameReader(1000);
    const opcodes: number[] = [];
    for (let at = 0; at < bytes.length; at += step) {
      reader.push(bytes.subarray(at, at + step));
      for (let frame = reader.next(); frame !== undefined; frame = reader.next()) opcodes.push(frame.opcode);
    }
    assertEquals(opcodes, [2, 9, 1], `in chunks of ${step}`);
  }
});

Deno.test("refuses invalid frames", () => {
  const cases: [name: string, bytes: number[], code: number][] = [
    ["RSV1", [0xc1, 0], 1002],
    ["RSV3", [0x91, 0], 1002],
    ["opcode 3", [0x83, 0], 1002],
    ["opcode 11", [0x8b, 0], 1002],
    ["a mask", [0x81, 0x80, 0, 0, 0, 0], 1002],
    ["a fragmented ping", [0x09, 0], 1002],
    ["a long ping", [0x89, 126, 0, 126], 1002],
    ["a 16-bit length that is not the shortest form", [0x81, 126, 0, 125], 1002],
    ["a 64-bit length that is not the shortest form", [0x81, 127, 0, 0, 0, 0, 0, 0, 255, 255], 1002],
    ["a length over the limit", [0x82, 127, 0, 0, 0, 1, 0, 0, 0, 0], 1009],
    ["a length with its highest bit set", [0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255], 1009],
  ];
  for (const [name, bytes, code] of cases) {
    const reader = new FrameReader(1000);
    reader.push(new Uint8Array(bytes));
    const error = assertThrows(() => reader.next(), FrameError, undefined, name);
    assertEquals(error.code, code, name);
  }
});
