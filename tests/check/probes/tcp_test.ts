/** Addresses that accept connections, and addresses that do not. */
import { assertEquals } from "@std/assert";
import { probeTcp } from "../../../lib/check/probes/tcp.ts";
import { echoService, firewalledPort } from "../test_servers.ts";
import { closedPort } from "../../support/ports.ts";

const forever = new AbortController().signal;

Deno.test("connects to every address and returns the first that accepts", async () => {
  await using echo = echoService();
  const { findings, address } = await probeTcp(["127.0.0.2", "127.0.0.1"], echo.port, forever);
  assertEquals(address, "127.0.0.1");
  // It is a note because both addresses are loopback addresses.
  assertEquals(findings.map(({ code, level }) => [code, level]), [["tcp-partial", "note"]]);
});

Deno.test("distinguishes a refused connection, dropped packets and a missing route", async () => {
  const codesOf = async (addresses: string[], port: number) => {
    const { findings, address } = await probeTcp(addresses, port, AbortSignal.timeout(1000));
    assertEquals(address, undefined);
    return findings.map(({ code }) => code);
  };
  assertEquals(await codesOf(["127.0.0.1"], closedPort()), ["tcp-refused"]);
  // The kernel refuses TCP connections to the broadcast address.
  assertEquals(await codesOf(["255.255.255.255"], 80), ["tcp-unreachable"]);
  await using dropped = await firewalledPort();
  assertEquals(await codesOf(["127.0.0.1"], dropped.port), ["tcp-timeout"]);
});
