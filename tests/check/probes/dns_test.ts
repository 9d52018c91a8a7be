/** What a name's addresses tell. */
import { assert, assertEquals } from "@std/assert";
import { peersRequired } from "../../peers/require.ts";
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

/** Runs a script in a network and mount namespace of its own, with its own resolv.conf; undefined where that is not allowed. */
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
    // deno-lint-ignore no-console -- a skipped test is to be seen
    console.warn(`SKIPPED: no namespace with a name server of its own: ${error}`);
    return undefined;
  } finally {
    await Deno.remove(resolver);
  }
}

Deno.test("a name server's failures are told apart, and so are slow and useless answers", async () => {
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
    // The resolver's own time and the probe's are the same here: which of them ends first is open.
    silent: outcome.silent?.codes.includes("dns-timeout") ? ["dns-timeout"] : ["dns-no-answer"],
  });
  assert(outcome.servfail?.facts[0]?.includes("SERVFAIL"));
});
