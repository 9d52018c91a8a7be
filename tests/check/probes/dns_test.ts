/** What a name's addresses tell. */
import { assertEquals } from "@std/assert";
import { judgeAddresses, probeDns } from "../../../lib/check/probes/dns.ts";

Deno.test("addresses", () => {
  const cases: [name: string, addresses: string[], codes: string[]][] = [
    ["domain.example", ["192.0.2.7"], ["dns-ok"]],
    ["domain.example", ["2001:db8::7", "192.0.2.7"], ["dns-ok"]],
    ["domain.example", ["2001:db8::7"], ["dns-only-ipv6"]],
    ["domain.example", ["127.0.0.1"], ["dns-loopback"]],
    ["domain.example", ["::1", "127.0.1.1"], ["dns-loopback"]],
    ["domain.example", [], ["dns-no-answer"]],
    ["localhost", ["::1"], ["dns-ok"]],
    ["app.localhost", ["127.0.0.1"], ["dns-ok"]],
  ];
  for (const [name, addresses, codes] of cases) {
    assertEquals(judgeAddresses(name, addresses).map(({ code }) => code), codes, `${name} ${addresses}`);
  }
});

Deno.test("a name is resolved, an address is itself, a name without an answer is told", async () => {
  const { signal } = new AbortController();
  assertEquals((await probeDns("192.0.2.7", signal)).addresses, ["192.0.2.7"]);
  assertEquals((await probeDns("localhost", signal)).findings.map(({ code }) => code), ["dns-ok"]);
  const none = await probeDns("name.invalid", signal);
  assertEquals(none.addresses, []);
  assertEquals(none.findings.map(({ code }) => code), ["dns-no-answer"]);
});
