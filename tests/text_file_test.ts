import { assertEquals, assertThrows } from "@std/assert";
import { decodeText } from "../lib/text_file.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

/** UTF-16 as Windows editors and PowerShell write it. */
function utf16(text: string, littleEndian: boolean, mark: boolean): Uint8Array {
  const units = (mark ? "\ufeff" : "") + text;
  const view = new DataView(new ArrayBuffer(units.length * 2));
  for (let at = 0; at < units.length; at++) view.setUint16(at * 2, units.charCodeAt(at), littleEndian);
  return new Uint8Array(view.buffer);
}

Deno.test("decodes UTF-8 and skips its byte order mark", () => {
  assertEquals(decodeText(bytes("naïve\r\n")), "naïve\r\n");
  assertEquals(decodeText(bytes("\ufeff{}")), "{}");
  assertEquals(decodeText(bytes("")), "");
});

Deno.test("rejects UTF-16 and names it, and rejects other text that is not UTF-8", () => {
  for (const littleEndian of [true, false]) {
    for (const mark of [true, false]) {
      assertThrows(() => decodeText(utf16("{ }", littleEndian, mark)), RangeError, "it is UTF-16 text");
      assertThrows(() => decodeText(utf16("x".repeat(500), littleEndian, mark)), RangeError, "it is UTF-16 text");
    }
  }
  assertThrows(() => decodeText(new Uint8Array([0x61, 0xe9, 0x62])), RangeError, "it is not UTF-8 text");
});
