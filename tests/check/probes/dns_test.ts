/** Name resolution and the addresses of a name. */
import { assert, assertEquals } from "@std/assert";
import { peersRequired } from "../../peers/require.ts";
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

/** Runs a script in separate network and mount namespaces with another resolv.conf; undefined if that is not permitted. */
async function inNamespace(script: string): Promise<string | undefined> {
  const resolver = await Deno.makeTempFile();
  try {
    await Deno.writeTextFile(resolver, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n");
    const steps = [
      "ip link set lo up",
      `mount --bind ${resolver} "$(readlink -f /etc/resolv.conf)"`,
      `exec "$@"`,
    ];
    const { success, stdout, stderr } = await new Deno.Command("unshare", {
      args: [
        ...["--map-root-user", "--net", "--mount", "sh", "-ec", steps.join("; "), "sh"],
        ...[Deno.execPath(), "run", "-A", "--config", new URL("../../../deno.json", import.meta.url).pathname, script],
      ],
    }).output();
    if (success) return new TextDecoder().decode(stdout);
    throw new Error(new TextDecoder().decode(stderr));
  } catch (error) {
    if (peersRequired()) throw error;
    // deno-lint-ignore no-console -- a skipped test must be visible
    console.warn(`SKIPPED: cannot create a namespace with a name server: ${error}`);
    return undefined;
  } finally {
    await Deno.remove(resolver);
  }
}

Deno.test("distinguishes the failures of a name server, slow answers and unusable addresses", async () => {
  const printed = await inNamespace(new URL("../dns_lab.ts", import.meta.url).pathname);
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
    silent: outcome.silent?.codes.includes("dns-timeout") ? ["dns-timeout"] : ["dns-no-answer"],
  });
  assert(outcome.servfail?.facts[0]?.includes("SERVFAIL"));
});
