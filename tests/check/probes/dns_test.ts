/** What a name's addresses tell. */
import { assert, assertEquals } from "@std/assert";
import { judgeAddresses, probeDns } from "../../../lib/check/probes/dns.ts";

Deno.test("addresses", () => {
  const cases: [name: string, addresses: string[], codes: string[]][] = [
    ["domain.example", ["192.0.2.7"], ["dns-ok"]],
    ["domain.example", ["2001:db8::7", "192.0.2.7"], ["dns-ok"]],
    ["domain.example", ["2001:db8::7"], ["dns-only-ipv6"]],
    ["domain.example", ["127.0.0.1"], ["dns-loopback"]],
    ["domain.example", ["::1", "127.0.1.1"], ["dns-loopback"]],
    ["domain.example", ["0.0.0.0"], ["dns-unspecified"]],
    ["domain.example", ["::"], ["dns-unspecified"]],
    ["domain.example", ["192.0.2.7", "127.0.0.1"], ["dns-loopback"]],
    ["domain.example", ["192.168.1.5"], ["dns-private", "dns-ok"]],
    ["domain.example", ["100.64.3.4"], ["dns-private", "dns-ok"]],
    ["domain.example", ["169.254.1.1"], ["dns-private", "dns-ok"]],
    ["domain.example", ["198.18.0.9"], ["dns-private", "dns-ok"]],
    ["domain.example", ["fd00::1"], ["dns-only-ipv6", "dns-private"]],
    ["localhost", ["::1"], ["dns-ok"]],
    ["app.localhost", ["127.0.0.1"], ["dns-ok"]],
  ];
  for (const [name, addresses, codes] of cases) {
    assertEquals(judgeAddresses(name, addresses, 5).map(({ code }) => code), codes, `${name} ${addresses}`);
  }
});

Deno.test("a name is resolved, an address is itself, a name without an answer is told", async () => {
  const { signal } = new AbortController();
  assertEquals((await probeDns("192.0.2.7", signal)).addresses, ["192.0.2.7"]);
  assertEquals((await probeDns("localhost", signal)).findings.map(({ code }) => code), ["dns-ok"]);
  const none = await probeDns("name.invalid", signal);
  assertEquals(none.addresses, []);
  // Where no name server answers, the reason is not known.
  const [found] = none.findings;
  assert(found && ["dns-nxdomain", "dns-no-answer"].includes(found.code), found?.code);
});
