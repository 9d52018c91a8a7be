/** All clients connect at once, as after a restart or when a page is published. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { startProgram } from "../support/program.ts";
import { dial, exchange, handshake, readUntil, skip, tryWrite } from "../support/raw.ts";
import { textFrame } from "../support/frames.ts";
import { figures, most } from "../support/figures.ts";
import { residentBytes } from "../support/proc.ts";

const CLIENTS = 2_000;

Deno.test("two thousand wss clients at once are all served", async () => {
  await using program = await startProgram(["--app", "echo", "--handshake-timeout", "1m", "--idle-timeout", "5m"]);
  const ca = await Deno.readTextFile(program.ca);
  const before = residentBytes(program.pid) / 1024;
  const began = performance.now();
  const times: number[] = [];
  const results = await Promise.allSettled(Array.from({ length: CLIENTS }, async () => {
    const connection = await dial({ port: program.port, ca });
    assertMatch(await exchange(connection, handshake()), /^HTTP\/1\.1 101/);
    times.push(performance.now() - began);
    return connection;
  }));
  const all = performance.now() - began;
  assertEquals(results.filter(({ status }) => status === "rejected"), []);
  const connections = results.flatMap((result) => result.status === "fulfilled" ? [result.value] : []);
  // Every client gets its echo while all are connected.
  await Promise.all(connections.map(async (connection) => {
    await tryWrite(connection, textFrame("hello"));
    await skip(connection, 7);
  }));
  const held = residentBytes(program.pid) / 1024;
  const health = await dial({ port: program.port, ca });
  await tryWrite(health, new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  assertMatch(await readUntil(health, "}"), new RegExp(`"peers":${CLIENTS}\\}`));
  health.close();
  for (const connection of connections) connection.close();
  figures("2,000 wss clients at once", {
    "all served after (ms)": all,
    "last handshake after (ms)": most(times),
    "memory before (KiB)": before,
    "memory with all clients (KiB)": held,
  });
  // An idle machine takes one or two seconds.
  assert(all < 60_000, `${all} ms`);
  assertEquals((await program.stop()).code, 0);
});
