import { assertEquals, assertThrows } from "@std/assert";
import { IncomingMessage, longerThan, toPayload } from "../../lib/ws/message.ts";
import { seeded } from "../support/seeded.ts";

const encode = (text: string) => new TextEncoder().encode(text);

Deno.test("counts a message's length in bytes, exactly at the limit, for characters of every width", () => {
  // The characters take one to four bytes and include the first and the last of each width.
  for (const character of ["x", "\x7f", "\x80", "é", "\u07ff", "\u0800", "€", "\uffff", "😀", "\u{10ffff}"]) {
    for (const count of [1, 2, 7, 100]) {
      const text = character.repeat(count);
      const bytes = encode(text).length;
      const shown = `${count} times U+${character.codePointAt(0)!.toString(16)}`;
      assertEquals(longerThan(text, bytes), false, shown);
      assertEquals(longerThan(text, bytes - 1), true, shown);
    }
  }
});

Deno.test("the length of random text agrees with TextEncoder around the limit", () => {
  const random = seeded(6455);
  const alphabet = ["a", "Z", "é", "ß", "€", "語", "😀", "🏳️‍🌈", "\n"];
  for (let round = 0; round < 500; round++) {
    let text = "";
    for (let length = random(60); length > 0; length--) text += alphabet[random(alphabet.length)];
    const bytes = encode(text).length;
    for (const limit of [bytes - 1, bytes, bytes + 1]) {
      assertEquals(longerThan(text, limit), bytes > limit, JSON.stringify({ text, limit }));
    }
  }
});

Deno.test("the length of a binary message is its number of bytes", () => {
  assertEquals([9, 10, 11].map((limit) => longerThan(new ArrayBuffer(10), limit)), [true, false, false]);
  assertEquals(longerThan(new ArrayBuffer(0), 0), false);
  assertEquals(longerThan("", 0), false);
});

Deno.test("text and binary messages convert to text, bytes and JSON", async () => {
  const json = '{"name":"tom é"}';
  for (const data of [json, encode(json).buffer]) {
    const message = new IncomingMessage(data);
    assertEquals(message.rawData, data);
    assertEquals(message.data, data);
    assertEquals(message.text(), json);
    assertEquals(`${message}`, json);
    assertEquals(message.json<{ name: string }>().name, "tom é");
    assertEquals(message.uint8Array(), encode(json));
    assertEquals(new Uint8Array(message.arrayBuffer()), encode(json));
    assertEquals(await message.blob().text(), json);
  }
  assertThrows(() => new IncomingMessage("{").json(), SyntaxError);
});

Deno.test("sends text and bytes unchanged, a message as its data, and anything else as JSON", () => {
  const buffer = encode("hello").buffer;
  assertEquals(toPayload("tom"), "tom");
  assertEquals(toPayload(""), "");
  assertEquals(toPayload(buffer), buffer);
  assertEquals(toPayload(new Uint8Array(buffer, 1, 3)), encode("ell"));
  assertEquals(toPayload(new DataView(buffer, 4)), encode("o"));
  assertEquals(toPayload(new Uint16Array([0x4142])), new Uint8Array(new Uint16Array([0x4142]).buffer));
  assertEquals(toPayload(new IncomingMessage("again")), "again");
  assertEquals(toPayload(new IncomingMessage(buffer)), buffer);
  assertEquals([{ a: [1] }, 7, true, null, undefined].map(toPayload), [
    '{"a":[1]}',
    "7",
    "true",
    "",
    "",
  ]);
});

Deno.test("rejects functions and objects that JSON would make empty", () => {
  class Empty {}
  for (
    const [data, shown] of [
      [new Map([["a", 1]]), "a Map: text, bytes or a JSON value is required; convert it with Object.fromEntries()"],
      [new Set([1]), "a Set: text, bytes"],
      [new ReadableStream(), "a ReadableStream: "],
      [Promise.resolve(1), "a Promise: "],
      [new Blob(["x"]), "a Blob: text, bytes or a JSON value is required; send `await blob.bytes()`"],
      [new Error("x"), "a Error: "],
      [new Empty(), "a Empty: "],
      [() => {}, "a function: "],
      [Symbol("x"), "a symbol: "],
    ] as const
  ) assertThrows(() => toPayload(data), TypeError, `Cannot send ${shown}`);
  class Point {
    x = 1;
  }
  assertEquals([
    toPayload({}),
    toPayload(Object.create(null)),
    toPayload(new Point()),
    toPayload(new Date(0)),
    toPayload([]),
  ], [
    "{}",
    "{}",
    '{"x":1}',
    '"1970-01-01T00:00:00.000Z"',
    "[]",
  ]);
});
