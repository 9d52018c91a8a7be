/** Addresses that accept connections, and those that do not. */
import { assertEquals } from "@std/assert";
import { probeTcp } from "../../../lib/check/probes/tcp.ts";
import { echoService, firewalledPort } from "../test_servers.ts";
import { closedPort } from "../../support/ports.ts";

const forever = new AbortController().signal;

Deno.test("each address is tried, and the first that accepts is used", async () => {
  await using echo = echoService();
  const { findings, address } = await probeTcp(["127.0.0.2", "127.0.0.1"], echo.port, forever);
  assertEquals(address, "127.0.0.1");
  // Only a note, because both are this machine's own.
  assertEquals(findings.map(({ code, level }) => [code, level]), [["tcp-partial", "note"]]);
});

Deno.test("refused, dropped, no way", async () => {
  const codesOf = async (addresses: string[], port: number) => {
    const { findings, address } = await probeTcp(addresses, port, AbortSignal.timeout(1000));
    assertEquals(address, undefined);
    return findings.map(({ code }) => code);
  };
  assertEquals(await codesOf(["127.0.0.1"], closedPort()), ["tcp-refused"]);
  // The kernel itself has no TCP to the broadcast address.
  assertEquals(await codesOf(["255.255.255.255"], 80), ["tcp-unreachable"]);
  await using dropped = await firewalledPort();
  assertEquals(await codesOf(["127.0.0.1"], dropped.port), ["tcp-timeout"]);
});
