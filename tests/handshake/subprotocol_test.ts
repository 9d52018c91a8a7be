import { assertEquals } from "@std/assert";
import { parseSubprotocols } from "../../lib/handshake/subprotocol.ts";

Deno.test("subprotocols: are parsed in the client's order", () => {
  assertEquals(parseSubprotocols(null), []);
  assertEquals(parseSubprotocols("chat"), ["chat"]);
  assertEquals(parseSubprotocols("wss.v1, bearer.abc-_~,  superchat\t"), ["wss.v1", "bearer.abc-_~", "superchat"]);
  assertEquals(parseSubprotocols("!#$%&'*+-.^_`|~09AZaz"), ["!#$%&'*+-.^_`|~09AZaz"]);
  // Empty elements are ignored (RFC 9110, section 5.6.1), and white space is optional.
  for (const header of ["a,b", "a,b,", ",a,,b", " a ,\tb ", "a,\t,b"]) {
    assertEquals(parseSubprotocols(header), ["a", "b"], JSON.stringify(header));
  }
  // Subprotocols are case-sensitive.
  assertEquals(parseSubprotocols("Chat, chat"), ["Chat", "chat"]);
});

Deno.test("subprotocols: empty lists, separators, inner spaces and duplicates are invalid", () => {
  for (
    const header of [
      "",
      " ",
      ",",
      "a b",
      "a, a",
      "a;b",
      "a/b",
      'a"b"',
      "a=b",
      "é",
      "a@b",
      "{a}",
    ]
  ) {
    assertEquals(parseSubprotocols(header), undefined, JSON.stringify(header));
  }
});
