/** Name resolution and the addresses of a name. */
import { assert, assertEquals } from "@std/assert";
import { inNamespace } from "../namespace.ts";
import { inspectAddresses, probeDns } from "../../../lib/check/probes/dns.ts";

Deno.test("reports addresses that clients cannot reach", () => {
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
    assertEquals(inspectAddresses(name, addresses, 5).map(({ code }) => code), codes, `${name} ${addresses}`);
  }
});

Deno.test("resolves a name, returns an address unchanged, and reports a name that does not exist", async () => {
  const { signal } = new AbortController();
  assertEquals((await probeDns("192.0.2.7", signal)).addresses, ["192.0.2.7"]);
  assertEquals((await probeDns("localhost", signal)).findings.map(({ code }) => code), ["dns-ok"]);
  const none = await probeDns("name.invalid", signal);
  assertEquals(none.addresses, []);
  // Without a name server, the reason is unknown.
  const [found] = none.findings;
  assert(found && ["dns-nxdomain", "dns-no-answer"].includes(found.code), found?.code);
});

Deno.test("distinguishes the failures of a name server, slow answers and unusable addresses", async () => {
  const resolver = "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n";
  const printed = await inNamespace(new URL("../dns_lab.ts", import.meta.url), { "/etc/resolv.conf": resolver });
  if (printed === undefined) return;
  const outcome = JSON.parse(printed) as Record<string, { codes: string[]; facts: string[] }>;
  assertEquals(Object.fromEntries(Object.entries(outcome).map(([name, { codes }]) => [name, codes])), {
    zero: ["dns-unspecified"],
    private: ["dns-private", "dns-ok"],
    loop: ["dns-loopback"],
    slow: ["dns-slow"],
    good: ["dns-ok"],
    servfail: ["dns-server-failure"],
    nxdomain: ["dns-nxdomain"],
    refused: ["dns-server-failure"],
    empty: ["dns-no-address"],
    // The timeouts of the resolver and of the probe are equal, so either can end first.
    silent: outcome.silent?.codes.includes("dns-timeout") ? ["dns-timeout"] : ["dns-no-resolver"],
  });
  assert(outcome.servfail?.facts[0]?.includes("SERVFAIL"));
});

Deno.test("reports an unusable address of this machine's hosts file as a note", async () => {
  const codes = (addresses: string[], hosts: string[]) =>
    inspectAddresses("domain.example", addresses, 5, hosts).map(({ code, level }) => [code, level]);
  assertEquals(codes(["127.0.1.1"], ["127.0.1.1"]), [["dns-loopback", "note"], ["dns-ok", "ok"]]);
  assertEquals(codes(["0.0.0.0"], ["0.0.0.0"]), [["dns-unspecified", "note"], ["dns-ok", "ok"]]);
  assertEquals(codes(["127.0.1.1"], ["192.0.2.7"]), [["dns-loopback", "warning"]]);

  const hosts = "127.0.0.1 localhost\n127.0.1.1\tOther Domain.example # this machine\n";
  const resolver = "nameserver 127.0.0.1\n";
  const printed = await inNamespace(
    new URL("../resolver_lab.ts", import.meta.url),
    { "/etc/resolv.conf": resolver, "/etc/hosts": hosts },
    ["domain.example"],
  );
  if (printed !== undefined) assertEquals(JSON.parse(printed), [["dns-loopback", "note"], ["dns-ok", "ok"]]);
});

Deno.test("reports a resolver that does not ask the name server", async () => {
  const files = { "/etc/resolv.conf": "nameserver 127.0.0.1\n", "/etc/nsswitch.conf": "hosts: files\n" };
  const printed = await inNamespace(new URL("../dns_lab.ts", import.meta.url), files);
  if (printed === undefined) return;
  const outcome = JSON.parse(printed) as Record<string, { codes: string[]; facts: string[] }>;
  assertEquals(outcome.good?.codes, ["dns-no-resolver"]);
  assert(outcome.good?.facts[0]?.includes("the resolver of this machine fails"), outcome.good?.facts[0]);
  assertEquals(outcome.empty?.codes, ["dns-no-address"]);
  assertEquals(outcome.nxdomain?.codes, ["dns-nxdomain"]);
});

Deno.test("does not report a fault of this machine's resolver as a name without an address", async (t) => {
  const resolvers: [name: string, resolver: string, pattern: RegExp][] = [
    ["no name server is configured", "", /names no name server/],
    ["there is no route to the name server", "nameserver 192.0.2.53\n", /a query cannot be sent to 192\.0\.2\.53/],
    [
      "nothing listens at the name server's address",
      "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n",
      /not answer/,
    ],
  ];
  for (const [name, resolver, pattern] of resolvers) {
    await t.step(name, async () => {
      const lab = new URL("../resolver_lab.ts", import.meta.url);
      const printed = await inNamespace(lab, { "/etc/resolv.conf": resolver }, ["domain.example", "--facts"]);
      if (printed === undefined) return;
      const [[code, level, fact]] = JSON.parse(printed);
      assertEquals([code, level], ["dns-no-resolver", "error"]);
      assert(pattern.test(fact), fact);
      assert(fact.includes("unknown whether"), fact);
    });
  }
});
