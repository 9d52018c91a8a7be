import { assert, assertEquals } from "@std/assert";
import { CloseCode, closeMeaning, fitReason, isSendable } from "../lib/close_codes.ts";

Deno.test("the close codes that may be sent are 1000 to 1014 without 1004 to 1006, and 3000 to 4999", () => {
  const sendable = Array.from({ length: 6000 }, (_, code) => code).filter(isSendable);
  const expected = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014];
  for (let code = 3000; code <= 4999; code++) expected.push(code);
  assertEquals(sendable, expected);
  for (const code of [-1, 1000.5, NaN, Infinity, 65_536]) assertEquals(isSendable(code), false);
});

Deno.test("every registered close code has a meaning; others are called private or unknown", () => {
  for (const [name, code] of Object.entries(CloseCode)) {
    assert(!/not a valid|private|registered by/.test(closeMeaning(code)), name);
  }
  assertEquals(closeMeaning(1009), "message too big");
  assertEquals(closeMeaning(4321), "private to the application");
  assertEquals(closeMeaning(3999), "registered by a library or framework");
  for (const code of [0, 999, 1004, 1016, 2999, 5000]) assertEquals(closeMeaning(code), "not a valid close code");
});

Deno.test("a close reason is truncated to 123 bytes between characters", () => {
  const bytes = (text: string) => new TextEncoder().encode(text).length;
  assertEquals(fitReason(""), "");
  assertEquals(fitReason("x".repeat(123)), "x".repeat(123));
  assertEquals(fitReason("x".repeat(124)), "x".repeat(123));
  assertEquals(fitReason("é".repeat(61)), "é".repeat(61));
  assertEquals(fitReason("é".repeat(62)), "é".repeat(61));
  assertEquals(fitReason("€".repeat(42)), "€".repeat(41));
  // 30 emoji are 120 bytes and 60 UTF-16 units. A 31st would make 124 bytes, and half an emoji is not a character.
  assertEquals(fitReason("😀".repeat(40)), "😀".repeat(30));
  assertEquals(bytes(fitReason("xx" + "😀".repeat(40))), 122);
});
