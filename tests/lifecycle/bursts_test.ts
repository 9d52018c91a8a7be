/** Everybody connects at once: after a restart, or when a page goes live. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dial, frame, readUntil, skip, writeAll } from "../net/clients.ts";
import { startProgram } from "../support/program.ts";
import { figures, most, residentMemory } from "./crowd.ts";
import { exchange, handshake } from "./raw.ts";

const CLIENTS = 2_000;

Deno.test("two thousand wss clients at once are all served", async () => {
  await using program = await startProgram(["--app", "echo", "--handshake-timeout", "1m", "--idle-timeout", "5m"]);
  const ca = await Deno.readTextFile(program.ca);
  const before = residentMemory(program.pid);
  const began = performance.now();
  const times: number[] = [];
  const results = await Promise.allSettled(Array.from({ length: CLIENTS }, async () => {
    const connection = await dial(program.port, ca);
    assertMatch(await exchange(connection, handshake()), /^HTTP\/1\.1 101/);
    times.push(performance.now() - began);
    return connection;
  }));
  const all = performance.now() - began;
  assertEquals(results.filter(({ status }) => status === "rejected"), []);
  const connections = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
  // Everybody is heard, while everybody is there.
  await Promise.all(connections.map(async (connection) => {
    await writeAll(connection, frame(0x81, new TextEncoder().encode("hello")));
    await skip(connection, 7);
  }));
  const held = residentMemory(program.pid);
  const health = await dial(program.port, ca);
  await writeAll(health, new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  assertMatch(await readUntil(health, "}"), new RegExp(`"peers":${CLIENTS}\\}`));
  health.close();
  for (const connection of connections) connection.close();
  figures("2,000 wss clients at once", {
    "all served after (ms)": all,
    "the last one after": most(times),
    "memory before (KiB)": before,
    "with them": held,
  });
  // A second or two on an idle machine.
  assert(all < 60_000, `${all} ms`);
  assertEquals((await program.stop()).code, 0);
});
