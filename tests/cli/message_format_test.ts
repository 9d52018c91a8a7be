/** Messages as text. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { hexDump, indentJson, parseHex, textForTerminal } from "../../lib/cli/message_format.ts";

Deno.test("indentJson keeps every token unchanged", () => {
  assertEquals(indentJson("{}"), "{}");
  assertEquals(indentJson("[ ]"), "[]");
  assertEquals(indentJson('{"a":[],"b":{"c":[{}]}}'), '{\n  "a": [],\n  "b": {\n    "c": [\n      {}\n    ]\n  }\n}');
  assertEquals(indentJson("[12345678901234567890,1.0,-1e5]"), "[\n  12345678901234567890,\n  1.0,\n  -1e5\n]");
  assertEquals(indentJson('{"a":1,"a":2}'), '{\n  "a": 1,\n  "a": 2\n}');
  assertEquals(indentJson('["[{,:}]","\\"\\\\"]'), '[\n  "[{,:}]",\n  "\\"\\\\"\n]');
  for (const text of ["", "tom", "12", '"text"', "[1,", "{tom}", "[1] [2]"]) assertEquals(indentJson(text), undefined);
});

Deno.test("indentJson returns equivalent JSON", () => {
  const values: unknown[] = [[null, true, [[[]]], { "": {} }], { "{": "}", "\n": ["\\", '"'] }, [1, 2, { a: [3] }]];
  for (const value of values) assertEquals(JSON.parse(indentJson(JSON.stringify(value))!), value);
});

Deno.test("textForTerminal escapes control characters", () => {
  assertEquals(textForTerminal("a\x1b[2Jb\nc\x07"), "a\\u001b[2Jb\nc\\u0007");
  assertEquals(textForTerminal('{"a":"\u202e"}'), '{\n  "a": "\\u202e"\n}');
});

Deno.test("hexDump truncates long messages, and parseHex parses hexadecimal", () => {
  assertEquals(hexDump(new Uint8Array([0x41])).split("\n"), [
    "1 byte",
    `000000  41${" ".repeat(46)}  A`,
  ]);
  const long = hexDump(new Uint8Array(5000));
  assert(long.endsWith("904 more bytes; --out FILE saves all bytes"), long.slice(-80));
  for (const text of ["00ff10", "00 ff 10", "0x00 0xFF 0x10", "00:ff:10"]) {
    assertEquals(parseHex(text), new Uint8Array([0, 255, 16]), text);
  }
  for (const text of ["", "0", "0g", "tom"]) assertThrows(() => parseHex(text), RangeError, "hexadecimal");
});
