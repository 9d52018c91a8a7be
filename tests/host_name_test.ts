import { assert, assertEquals } from "@std/assert";
import { canonicalHost } from "../lib/host_name.ts";

Deno.test("host names are normalized, and invalid ones are rejected", () => {
  for (
    const [given, taken] of [
      ["Dev.Example.TEST", "dev.example.test"],
      ["*.Dev.test", "*.dev.test"],
      ["bücher.test", "xn--bcher-kva.test"],
      ["my_host", "my_host"],
      ["2001:DB8::0:1", "2001:db8::1"],
      ["::ffff:192.0.2.1", "192.0.2.1"],
    ] as const
  ) assertEquals(canonicalHost(given), taken);
  for (
    const bad of ["", "a b", "*", "*.", "a..b", "http://a", "a/b", "a:80", "0x7f.1", "user@a", "-a", "a*b", "*.*.a"]
  ) {
    let refused = false;
    try {
      canonicalHost(bad);
    } catch (error) {
      refused = error instanceof RangeError;
    }
    assert(refused, bad);
  }
});
