import { assertEquals } from "@std/assert";
import { nearest } from "../../lib/config/nearest_name.ts";

Deno.test("the nearest name: a few letters off in any case, none where it could be anything, of equals the first", () => {
  const known = ["port", "path", "host", "maxPayload", "maxConnections"];
  assertEquals(nearest("prot", known), "port");
  assertEquals(nearest("PORT", known), "port");
  assertEquals(nearest("maxpayloads", known), "maxPayload");
  assertEquals(nearest("maxConections", known), "maxConnections");
  assertEquals(nearest("pot", ["port", "pots"]), "port");
  assertEquals(nearest("certificate", known), undefined);
  assertEquals(nearest("", ["port"]), undefined);
  assertEquals(nearest("port", []), undefined);
});
