import { assertEquals } from "@std/assert";
import { findNearestName } from "../../lib/config/nearest_name.ts";

Deno.test("findNearestName returns the first of the nearest names, or none if no name is similar", () => {
  const known = ["port", "path", "host", "maxPayload", "maxConnections"];
  assertEquals(findNearestName("prot", known), "port");
  assertEquals(findNearestName("PORT", known), "port");
  assertEquals(findNearestName("maxpayloads", known), "maxPayload");
  assertEquals(findNearestName("maxConections", known), "maxConnections");
  assertEquals(findNearestName("pot", ["port", "pots"]), "port");
  assertEquals(findNearestName("certificate", known), undefined);
  assertEquals(findNearestName("", ["port"]), undefined);
  assertEquals(findNearestName("port", []), undefined);
});
