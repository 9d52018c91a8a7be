import { assertEquals } from "@std/assert";
import { parseSubprotocols } from "../../lib/handshake/subprotocol.ts";

Deno.test("subprotocols: in the client's order, each a token, none twice", () => {
  assertEquals(parseSubprotocols(null), []);
  assertEquals(parseSubprotocols("chat"), ["chat"]);
  assertEquals(parseSubprotocols("wss.v1, bearer.abc-_~,  superchat\t"), ["wss.v1", "bearer.abc-_~", "superchat"]);
  assertEquals(parseSubprotocols("!#$%&'*+-.^_`|~09AZaz"), ["!#$%&'*+-.^_`|~09AZaz"]);
  // Subprotocols are compared with regard to case.
  assertEquals(parseSubprotocols("Chat, chat"), ["Chat", "chat"]);
});

Deno.test("subprotocols: an empty part, a separator, a space within, and a repetition make it no list", () => {
  for (
    const header of [
      "",
      " ",
      ",",
      "chat,",
      ",chat",
      "a,,b",
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
