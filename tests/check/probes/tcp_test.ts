/** Addresses that accept connections, and addresses that do not. */
import { assert, assertEquals } from "@std/assert";
import { probeTcp } from "../../../lib/check/probes/tcp.ts";
import { echoService, firewalledPort } from "../test_servers.ts";
import { inNamespace } from "../namespace.ts";
import { closedPort } from "../../support/ports.ts";

const forever = new AbortController().signal;

Deno.test("connects to every address and returns the first that accepts", async () => {
  await using echo = echoService();
  const { findings, address } = await probeTcp(["127.0.0.2", "127.0.0.1"], echo.port, forever);
  assertEquals(address, "127.0.0.1");
  // It is a note because both addresses are loopback addresses.
  assertEquals(findings.map(({ code, level }) => [code, level]), [["tcp-partial", "note"]]);
});

Deno.test("distinguishes a refused connection, dropped packets and a local fault", async () => {
  const codesOf = async (addresses: string[], port: number) => {
    const { findings, address } = await probeTcp(addresses, port, AbortSignal.timeout(1000));
    assertEquals(address, undefined);
    return findings.map(({ code }) => code);
  };
  assertEquals(await codesOf(["127.0.0.1"], closedPort()), ["tcp-refused"]);
  // The kernel refuses TCP connections to the broadcast address.
  assertEquals(await codesOf(["255.255.255.255"], 80), ["tcp-not-tried"]);
  await using dropped = await firewalledPort();
  assertEquals(await codesOf(["127.0.0.1"], dropped.port), ["tcp-timeout"]);
});

Deno.test("reports a fault of this machine's network or permissions as its own", async () => {
  const printed = await inNamespace(new URL("../routes_lab.ts", import.meta.url));
  if (printed === undefined) return;
  type Case = { findings: [code: string, level: string, fact: string][]; address?: string; verdict?: string };
  const outcome = JSON.parse(printed) as Record<string, Case>;
  const levels = (name: string) => outcome[name]!.findings.map(([code, level]) => `${code} ${level}`);
  const factOf = (name: string, code: string) => outcome[name]!.findings.find((found) => found[0] === code)?.[2] ?? "";

  for (const name of ["no IPv6 route", "only a unique local IPv6 address", "IPv6 is disabled"]) {
    assertEquals(levels(name), ["tcp-ok ok", "tcp-not-tried note"], name);
    assertEquals(outcome[name]?.address, "192.0.2.1");
    const fact = factOf(name, "tcp-not-tried");
    assert(/2001:db8::7 was not tested: this machine has no /.test(fact), fact);
  }
  assertEquals(levels("no route at all"), ["tcp-not-tried error"]);
  assert(/no route/.test(factOf("no route at all", "tcp-not-tried")));
  assertEquals(levels("refused, and no IPv6 route"), ["tcp-refused error", "tcp-not-tried note"]);
  assert(!factOf("refused, and no IPv6 route", "tcp-refused").includes("2001:db8"));
  assertEquals(levels("another address of the family accepts"), ["tcp-partial warning"]);
  assertEquals(levels("prohibited"), ["tcp-not-tried error"]);
  assert(/does not permit/.test(factOf("prohibited", "tcp-not-tried")));
  assertEquals(levels("reported as unreachable"), ["tcp-unreachable error"]);

  for (
    const [name, pattern] of [["the network is lost", /no route/], ["the permission is revoked", /net access/]] as const
  ) {
    assertEquals(levels(name), ["url-ok ok", "tcp-ok ok", "protocol-ok ok", "local-failure warning"], name);
    assertEquals(outcome[name]?.verdict, "unfinished");
    assert(pattern.test(factOf(name, "local-failure")), factOf(name, "local-failure"));
  }
});
