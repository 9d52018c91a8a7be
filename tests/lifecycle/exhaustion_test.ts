/** File descriptors run out: held clients are unaffected, and new ones are served again later. Linux only. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import { ask, dial, exchange, handshake, isReset } from "../support/raw.ts";
import { figures } from "../support/figures.ts";
import { HeldClients } from "../support/client_load.ts";
import { until } from "../support/until.ts";

const LIMIT = 128;

/** Starts the program with a limit of `LIMIT` file descriptors. */
function limited(args: readonly string[]): Promise<Program> {
  const wrapper = ["/bin/sh", "-c", `ulimit -n ${LIMIT}; exec "$@"`, "sh"];
  return startProgram(["--app", "echo", "--handshake-timeout", "5m", ...args], { wrapper });
}

Deno.test("more clients than descriptors allow: 503 with Retry-After, and the connected clients stay served", async () => {
  await using program = await limited([]);
  const ca = await Deno.readTextFile(program.ca);
  const admitted: Deno.Conn[] = [];
  await using held = await HeldClients.open(10, program.url, { ca: program.ca });
  const refusals: string[] = [];
  for (let round = 0; round < LIMIT * 2 && refusals.length < 20; round++) {
    const connection = await dial({ port: program.port, ca });
    const answer = await exchange(connection, handshake());
    if (answer.startsWith("HTTP/1.1 101")) admitted.push(connection);
    else {
      refusals.push(answer);
      connection.close();
    }
  }
  assertEquals(refusals.length, 20);
  for (const answer of refusals) assertMatch(answer, /^HTTP\/1\.1 503 [^]*\r\nretry-after: \d+\r\n/i);
  figures(`of ${LIMIT} descriptors`, { connections: admitted.length + 10 });
  assert(admitted.length + 10 > LIMIT / 4, `only ${admitted.length + 10} connections`);
  // The accept loop is still running.
  assertEquals(program.stderr.text.includes("no longer accepts"), false, program.stderr.text);

  admitted.pop()!.close();
  const began = performance.now();
  while (!(await ask({ port: program.port, ca }, handshake())).startsWith("HTTP/1.1 101")) {
    assert(performance.now() - began < 20_000, "a descriptor is free, but no client is accepted");
  }
  for (const connection of admitted) connection.close();
  await held.settle();
});

Deno.test("silent connections use up the descriptors: the oldest are closed, and held and new clients are served", async () => {
  await using program = await limited(["--log-level", "debug"]);
  await using held = await HeldClients.open(10, program.url, { ca: program.ca });
  const silent: Deno.Conn[] = [];
  const times: number[] = [];
  try {
    // Three bursts, each as large as the descriptor limit. The test closes none of these connections.
    for (let burst = 0; burst < 3; burst++) {
      await Promise.all(Array.from({ length: LIMIT }, async () => {
        try {
          silent.push(await Deno.connect({ hostname: "127.0.0.1", port: program.port }));
        } catch (error) {
          // When a listener ends, connections in its queue are reset.
          if (!(error instanceof Deno.errors.ConnectionRefused || isReset(error))) throw error;
        }
      }));
      const began = performance.now();
      let client: Client | undefined;
      while (!client) {
        client = await Client.open(program.url, { ca: program.ca }).catch(() => undefined);
        assert(performance.now() - began < 20_000, program.stderr.text);
      }
      assertEquals(await client.ask("new"), "new");
      times.push(performance.now() - began);
      await client.close();
    }
    await program.stderr.until(/"level":"warn","message":"Descriptors run short: .*"closed":\d+.*"limit":128/);
    await program.stderr.until(/"message":"The watchdog ended a connection","reason":"descriptors"/);
    const before = held.echoes;
    await until(() => held.echoes >= before + 100);
  } finally {
    for (const connection of silent) connection.close();
  }
  await held.settle();
  figures("a new client after a burst of silent connections (ms)", { slowest: Math.max(...times) });
  figures("held clients throughout", { echoes: held.echoes, "slowest (ms)": held.slowest });
});

Deno.test("silent admin connections use up the descriptors: the service and the admin listener keep serving", async () => {
  await using program = await limited(["--admin", "127.0.0.1:0", "--max-connections", "20"]);
  const [, admin] = await program.stderr.until(/"admin":"([^"]+)"/);
  const address = { hostname: "127.0.0.1", port: Number(new URL(admin!).port) };
  const options = { ca: program.ca };
  await using held = await HeldClients.open(10, program.url, options);
  const silent: Deno.Conn[] = [];
  try {
    for (let burst = 0; burst < 3; burst++) {
      await Promise.all(Array.from({ length: LIMIT }, async () => {
        try {
          silent.push(await Deno.connect(address));
        } catch (error) {
          // When a listener ends, connections in its queue are reset.
          if (!(error instanceof Deno.errors.ConnectionRefused || isReset(error))) throw error;
        }
      }));
      const began = performance.now();
      for (let served = false; !served;) {
        assert(performance.now() - began < 20_000, program.stderr.text);
        // Admin connections do not count towards --max-connections: only a lack of descriptors causes a refusal.
        const client = await Client.open(program.url, options).catch(() => undefined);
        const health = await fetch(`${admin}/healthz`, { headers: { connection: "close" } })
          .then((answer) => answer.json(), () => undefined);
        served = client !== undefined && health?.status === "ok";
        if (client !== undefined) assertEquals(await client.ask("new"), "new");
        await client?.close();
      }
    }
    const before = held.echoes;
    await until(() => held.echoes >= before + 100);
  } finally {
    for (const connection of silent) connection.close();
  }
  await held.settle();
  figures("held clients beside silent connections to the admin listener", {
    echoes: held.echoes,
    "slowest (ms)": held.slowest,
    "loops that ended": program.stderr.text.match(/no longer accepts/g)?.length ?? 0,
  });
});
