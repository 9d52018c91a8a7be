/** The watchdog against real clients, good and bad. */
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath } from "node:url";
import { silent } from "../../../lib/log.ts";
import { Watchdog } from "../../../lib/net/watchdog/watchdog.ts";
import { Client } from "../../support/client.ts";
import { startProgram } from "../../support/program.ts";
import { dialUpgraded, endOf, skip, tryWrite } from "../../support/raw.ts";
import { testAuthority } from "../certificates.ts";
import { maskedFrame, Opcode, textFrame } from "../../support/frames.ts";
import { python, ServerProcess, WATCHDOG } from "../process.ts";

const { ca, issue } = await testAuthority();
const tls = await issue("1a00");

Deno.test("closes a fragmented message that exceeds the limit before its end, and serves one below it", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const honest = await dialUpgraded({ port: server.port });
  const part = new Uint8Array(10_000);
  for (let piece = 0; piece < 100; piece++) {
    await tryWrite(honest, maskedFrame(piece === 0 ? Opcode.Binary : Opcode.Continuation, part, { fin: false }));
  }
  await tryWrite(honest, maskedFrame(Opcode.Continuation, part));
  await skip(honest, 1_010_000);
  honest.close();
  const before = await server.stat();
  const { cut, sent } = JSON.parse(await python("./flood.py", server.port, "plain", "fragments", 30));
  assert(cut, `${sent} bytes`);
  const after = await server.settle((stat) => stat.reasons.length > 0);
  assert(["flood", "payload"].includes(after.reasons[0]!), after.reasons[0]);
  assert(after.rss < before.rss + 1024 ** 3, `${after.rss}`);
});

Deno.test("does not close a client that only sends pings", async () => {
  await using server = await ServerProcess.start({ watchdog: { ...WATCHDOG, maxPayload: 1 } });
  const connection = await dialUpgraded({ port: server.port });
  const ping = maskedFrame(Opcode.Ping, new Uint8Array(100));
  for (let count = 0; count < 2_000; count++) {
    await tryWrite(connection, ping);
    await skip(connection, 102);
  }
  await server.settle((stat) => stat.watchdog!.fullScans > 4);
  await tryWrite(connection, textFrame("hi"));
  await skip(connection, 4);
  connection.close();
});

Deno.test("closes a peer that does not answer a close frame in time", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const connection = await dialUpgraded({ port: server.port });
  const began = performance.now();
  await tryWrite(connection, textFrame("close me"));
  await skip(connection, 4);
  assert(await endOf(connection, 20_000) !== undefined, "the connection is still open");
  const after = performance.now() - began;
  assert(after > WATCHDOG.closeTimeout * 0.8, `${after} ms`);
  const { reasons } = await server.settle((stat) => stat.reasons.length > 0);
  assertEquals(reasons, ["close"]);
});

Deno.test("terminate closes a peer that never reads at once", async () => {
  await using server = await ServerProcess.start({ tls, watchdog: WATCHDOG });
  const connection = await dialUpgraded({ port: server.port, ca });
  for (let times = 0; times < 3; times++) await tryWrite(connection, textFrame("feed me"));
  await tryWrite(connection, textFrame("cut me"));
  const { closed } = await server.settle(({ closed }) => closed === 1);
  assertEquals(closed, 1);
  connection.close();
});

Deno.test("the kernel closes a peer that reads nothing for userTimeout, but not a slow reader", async () => {
  await using server = await ServerProcess.start({ userTimeout: 6_000 });
  const stuck = await dialUpgraded({ port: server.port });
  for (let times = 0; times < 3; times++) await tryWrite(stuck, textFrame("feed me"));
  const slow = await dialUpgraded({ port: server.port });
  await tryWrite(slow, textFrame("feed me"));
  const reading = (async () => {
    for (let left = 8 * 1024 ** 2; left > 0; left -= 500_000) {
      await skip(slow, Math.min(left, 500_000));
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  })();
  const stat = await server.settle(({ closed }) => closed === 1);
  assertEquals([stat.closed, stat.sockets], [1, 1]);
  await reading;
  slow.close();
  stuck.close();
});

Deno.test("a watchdog that is stopped before its thread has started never starts it", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const watchdog = Watchdog.start({ ...WATCHDOG, addr: listener.addr, log: silent })!;
  await watchdog.stop();
  assertEquals(await watchdog.ready, false);
  await watchdog.stop();
});

Deno.test("a service whose watchdog cannot start says so, serves, and stops without waiting for the thread", async () => {
  const scanner = fileURLToPath(new URL("../../../lib/net/watchdog/scanner_worker.ts", import.meta.url));
  // Waiting for the thread took 5 s. A busy machine may be as slow once, but not three times.
  let took = Infinity;
  for (let attempt = 0; attempt < 3 && took > 4_500; attempt++) {
    await using program = await startProgram([], { permissions: ["-A", `--deny-read=${scanner}`] });
    await program.stderr.until(/The watchdog does not run \(Requires read access/);
    await using client = await Client.open(program.url, { ca: program.ca });
    assertEquals(await client.ask("tom"), "ok");
    await client.close();
    const began = performance.now();
    const { code } = await program.stop();
    assertEquals(code, 0);
    took = performance.now() - began;
  }
  assert(took < 4_500, `${took} ms`);
});
