/** A stop drains the service: it refuses new connections, and serves open ones until their end or the timeout. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import { ask, dial, exchange, handshake, isRefused, request } from "../support/raw.ts";
import { figures } from "../support/figures.ts";

/** Sends SIGTERM, and waits until the service refuses connections. */
async function drain(program: Program): Promise<void> {
  program.signal("SIGTERM");
  await program.stderr.until(/SIGTERM: stopping/);
  const deadline = performance.now() + 20_000;
  while (!await isRefused(program.port)) assert(performance.now() < deadline, "it still accepts connections");
}

Deno.test("SIGTERM: new connections are refused, open ones are served until the timeout, then 1001 and exit 0", async () => {
  await using program = await startProgram(["--app", "echo", "--drain-timeout", "6s"]);
  const ca = await Deno.readTextFile(program.ca);
  const clients = await Promise.all(Array.from({ length: 20 }, () => Client.open(program.url, { ca: program.ca })));
  // A load balancer's connection, opened before the stop.
  const balancer = await dial({ port: program.port, ca });
  assertMatch(await exchange(balancer, request("/healthz")), /^HTTP\/1\.1 200/);

  const began = performance.now();
  await drain(program);
  const left = performance.now() - began;
  let echoes = 0;
  for (let round = 0; performance.now() - began < 2_000; round++) {
    for (const client of clients) assertEquals(await client.ask(`${round}`), `${round}`);
    echoes += clients.length;
  }
  assertMatch(await exchange(balancer, request("/healthz")), /^HTTP\/1\.1 503/);
  assert(await isRefused(program.port));
  assertEquals(
    new Set((await Promise.all(clients.map(({ closed }) => closed))).map(({ code }) => code)),
    new Set([1001]),
  );
  const closed = performance.now() - began;
  const { code, stderr } = await program.ended;
  assertEquals(code, 0);
  assertMatch(stderr.trimEnd(), /"message":"stopped"\}$/);
  assert(closed >= 5_900, `closed after ${closed} ms`);
  balancer.close();
  figures("drain of 6 s (ms)", {
    "new connections refused after": left,
    echoes,
    "1001 after": closed,
    "exit after": performance.now() - began,
  });
});

Deno.test("SIGTERM: the program exits as soon as the last client leaves", async () => {
  await using program = await startProgram(["--app", "echo", "--drain-timeout", "1h"]);
  const clients = await Promise.all(Array.from({ length: 3 }, () => Client.open(program.url, { ca: program.ca })));
  await drain(program);
  let exited = false;
  program.exited.then(() => exited = true);
  for (const [index, client] of clients.entries()) {
    for (const other of clients.slice(index)) assertEquals(await other.ask("still"), "still");
    assertEquals(exited, false);
    assertEquals((await client.close()).code, 1000);
  }
  const began = performance.now();
  assertEquals((await program.ended).code, 0);
  figures("exit after the last client left (ms)", { after: performance.now() - began });
});

Deno.test("SIGTERM: --drain-timeout 0 closes with 1001 at once", async () => {
  await using program = await startProgram(["--app", "echo", "--drain-timeout", "0"]);
  await using client = await Client.open(program.url, { ca: program.ca });
  const began = performance.now();
  const { code } = await program.stop();
  assertEquals([code, (await client.closed).code], [0, 1001]);
  const took = performance.now() - began;
  figures("exit with --drain-timeout 0 (ms)", { after: took });
  // Well below the default of ten seconds.
  assert(took < 8_000, `${took} ms`);
});

Deno.test("SIGTERM: clients that ignore the close, keep sending, or stay idle do not delay the exit", async () => {
  await using program = await startProgram(["--app", "echo", "--drain-timeout", "300ms"]);
  const ca = await Deno.readTextFile(program.ca);
  const silent = await dial({ port: program.port, ca });
  const idle = await dial({ port: program.port, ca });
  const half = await dial({ port: program.port });
  await using busy = await Client.open(program.url, { ca: program.ca });
  busy.socket.addEventListener("message", () => busy.socket.readyState === WebSocket.OPEN && busy.send("again"));
  busy.send("first");
  assertMatch(await exchange(silent, handshake()), /^HTTP\/1\.1 101/);
  assertMatch(await exchange(idle, request("/healthz")), /^HTTP\/1\.1 200/);
  const began = performance.now();
  assertEquals((await program.stop()).code, 0);
  const took = performance.now() - began;
  figures("exit with clients that do not leave (ms)", { after: took });
  assert(took < 15_000, `${took} ms`);
  for (const connection of [silent, idle, half]) connection.close();
});

Deno.test("SIGTERM without the C library: the port stays open until the exit and answers 503", async () => {
  const permissions = ["--allow-net", "--allow-read", "--allow-write", "--allow-env", "--allow-sys", "--no-prompt"];
  await using program = await startProgram(["--app", "echo", "--drain-timeout", "1h"], { permissions });
  const ca = await Deno.readTextFile(program.ca);
  const client = await Client.open(program.url, { ca: program.ca });
  program.signal("SIGTERM");
  await program.stderr.until(/SIGTERM: stopping/);
  for (const text of [request("/healthz"), handshake()]) {
    assertMatch(await ask({ port: program.port, ca }, text), /^HTTP\/1\.1 503/);
  }
  assertEquals(await client.ask("still"), "still");
  await client.close();
  assertEquals((await program.ended).code, 0);
});
