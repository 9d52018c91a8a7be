/** SIGUSR2: a new process with the same command line takes over the port without an interruption. Linux only. */
import { assertEquals, assertMatch, assertNotEquals, assertNotMatch } from "@std/assert";
import { join } from "node:path";
import { Client, type ClientOptions } from "../support/client.ts";
import { makeFolder, type Program, runProgram } from "../support/program.ts";
import { ask, dial, exchange, handshake, readUntil, request, tryWrite } from "../support/raw.ts";
import { figures, most } from "../support/figures.ts";
import { residentBytes } from "../support/proc.ts";
import { HeldClients, NewClients } from "../support/client_load.ts";
import { isAlive, killIn } from "../support/processes.ts";
import { handOver, takenOver, waitForExit, withProgram } from "./hand_over.ts";

async function pidOf(url: string, options: ClientOptions): Promise<number> {
  await using client = await Client.open(url, options);
  return Number(await client.ask("pid"));
}

/** Hands over twice, with held clients and a steady flow of new clients. */
async function twice(program: Program, url: string, options: ClientOptions): Promise<void> {
  assertEquals(await pidOf(url, options), program.pid);
  const held = await Client.open(url, options);
  const leaving = await HeldClients.open(10, url, options);
  await using arrivals = new NewClients(url, options);
  await arrivals.more(20);
  const quiet = most(arrivals.served);

  const began = performance.now();
  const second = await handOver(program, program.pid);
  const took = performance.now() - began;
  assertNotEquals(second, program.pid);
  await arrivals.more(20);
  assertEquals(await pidOf(url, options), second);
  assertEquals(await held.ask("pid"), `${program.pid}`);
  assertEquals(isAlive(program.pid), true);
  await leaving.settle();
  await leaving[Symbol.asyncDispose]();
  assertEquals(await held.ask("pid"), `${program.pid}`);
  await held.close();
  assertEquals(await program.exited, 0);

  await using other = await Client.open(url, options);
  const third = await handOver(program, second);
  assertNotEquals(third, second);
  await arrivals.more(20);
  assertEquals(await pidOf(url, options), third);
  assertEquals(await other.ask("pid"), `${second}`);
  await other.close();
  await waitForExit(second);
  await arrivals.settle();
  figures(`hand-over of ${url.replace(/:.*/, "")}`, {
    "new connections": arrivals.served.length,
    "slowest before (ms)": quiet,
    "slowest of all (ms)": most(arrivals.served),
    "SIGUSR2 to the new process (ms)": took,
    "memory of the third process (KiB)": residentBytes(third) / 1024,
  });
  Deno.kill(third, "SIGTERM");
  const { stderr } = await program.ended;
  assertEquals(stderr.match(/"message":"stopped"/g)?.length, 3);
  assertEquals(stderr.split("\n").filter((line) => /"level":"error"/.test(line)), []);
}

Deno.test("SIGUSR2 under load, twice: no client is refused, and held connections stay open", async () => {
  await withProgram(["--drain-timeout", "1h"], (program) => twice(program, program.url, { ca: program.ca }));
});

Deno.test("SIGUSR2 under load, twice, on a Unix socket", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-socket-" });
  const unix = join(folder, "s");
  try {
    await withProgram(
      ["--mode", "proxied", "--unix", unix, "--drain-timeout", "1h"],
      (program) => twice(program, "ws://localhost/", { unix }),
    );
    // The last process removed the socket file.
    assertEquals([...Deno.readDirSync(folder)], []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("SIGUSR2: the old process serves a client that is in the middle of its handshake", async (t) => {
  for (const [name, pause] of [["quick", 100], ["slower than the port changes hands", 2_500]] as const) {
    await t.step(name, async () => {
      // The connections below wait for the start of a process.
      await withProgram(["--drain-timeout", "1h", "--handshake-timeout", "5m"], async (program) => {
        const ca = await Deno.readTextFile(program.ca);
        const tcp = await Deno.connect({ hostname: "127.0.0.1", port: program.port });
        const tls = await dial({ port: program.port, ca });
        const half = await dial({ port: program.port, ca });
        const text = new TextEncoder().encode(handshake());
        await tryWrite(half, text.subarray(0, 30));
        // This answer shows that the earlier connections have been accepted.
        assertMatch(await ask({ port: program.port, ca }, request("/healthz")), /^HTTP\/1\.1 200/);
        await handOver(program, program.pid);
        await new Promise((resolve) => setTimeout(resolve, pause));
        const late = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [ca] });
        assertMatch(await exchange(late, handshake()), /^HTTP\/1\.1 101/);
        assertMatch(await exchange(tls, handshake()), /^HTTP\/1\.1 101/);
        await tryWrite(half, text.subarray(30));
        assertMatch(await readUntil(half, "\r\n\r\n"), /^HTTP\/1\.1 101/);
        assertEquals(isAlive(program.pid), true);
        for (const connection of [late, tls, half]) connection.close();
        assertEquals(await program.exited, 0);
      });
    });
  }
});

Deno.test("SIGUSR2 in the middle of a certificate reload, and a reload in the middle of a hand-over", async () => {
  const folder = await makeFolder();
  try {
    const put = async (name: string) => {
      for (const file of ["cert.pem", "key.pem"]) await Deno.copyFile(join(folder, name, file), join(folder, file));
    };
    for (const name of ["one", "two", "three"]) {
      // The same authority issues all three certificates.
      if (name !== "one") {
        await Deno.mkdir(join(folder, name));
        for (const file of ["ca.pem", "ca.key"]) {
          await Deno.copyFile(join(folder, "one", file), join(folder, name, file));
        }
      }
      assertEquals((await runProgram(["cert", "--folder", name], { folder })).code, 0);
    }
    await put("one");
    const args = ["--cert", join(folder, "cert.pem"), "--key", join(folder, "key.pem"), "--host", "127.0.0.1"];
    const options = { ca: join(folder, "one/ca.pem") };
    await withProgram([...args, "--drain-timeout", "1h"], async (program) => {
      await using held = await HeldClients.open(5, program.url, options);
      await using arrivals = new NewClients(program.url, options);
      await arrivals.more(20);
      await put("two");
      program.signal("SIGHUP");
      await program.stderr.until(/the new certificate is in use/);
      const from = program.stderr.text.length;
      program.signal("SIGUSR2");
      await program.stderr.until(/handing over to new process/, from);
      await put("three");
      program.signal("SIGHUP");
      const next = await takenOver(program, from);
      await arrivals.more(200);
      assertEquals(await pidOf(program.url, options), next);
      await held.settle();
      await held[Symbol.asyncDispose]();
      assertEquals(await program.exited, 0);
      await arrivals.more(50);
      await arrivals.settle();
      assertEquals(await pidOf(program.url, options), next);
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("SIGUSR2: after --drain-timeout the old process closes its clients with 1001 and exits with 0", async () => {
  await withProgram(["--drain-timeout", "500ms"], async (program) => {
    await using held = await Client.open(program.url, { ca: program.ca });
    await handOver(program, program.pid);
    assertEquals((await held.closed).code, 1001);
    assertEquals(await program.exited, 0);
    await using client = await Client.open(program.url, { ca: program.ca });
    assertEquals(await client.ask("new"), "new");
  });
});

Deno.test("SIGUSR2: a second service still fails with a clear error while the old process drains", async () => {
  await withProgram(["--drain-timeout", "1h"], async (program, folder) => {
    await using _held = await Client.open(program.url, { ca: program.ca });
    await handOver(program, program.pid);
    const second = await runProgram(["--port", `${program.port}`], { folder });
    assertEquals(second.code, 1);
    assertMatch(second.stderr, /^wss: Cannot listen on 127\.0\.0\.1:\d+: the port is in use/);
    killIn(folder);
  });
});

Deno.test("SIGUSR2: if the successor cannot start, the old process keeps serving and logs the reason", async (t) => {
  await withProgram([], async (program, folder) => {
    const options = { ca: program.ca };
    await using held = await Client.open(program.url, options);
    await using arrivals = new NewClients(program.url, options, 2);
    const broken: [string, string, string, RegExp][] = [
      ["the configuration is broken", "wss.json", "{ nonsense", /wss\.json/],
      ["an option is unknown", "wss.json", '{"maxPaylod": 5}', /maxPaylod.*maxPayload/],
      ["the app does not load", "pid.ts", "export default {", /Cannot load the app/],
    ];
    for (const [name, file, content, why] of broken) {
      await t.step(name, async () => {
        const path = join(folder, file);
        const before = await Deno.readTextFile(path);
        const from = program.stderr.text.length;
        await Deno.writeTextFile(path, content);
        program.signal("SIGUSR2");
        await program.stderr.until(
          /"level":"error","message":"Cannot hand over: the successor exited with code [12]/,
          from,
        );
        assertMatch(program.stderr.text.slice(from), why);
        await Deno.writeTextFile(path, before);
        await arrivals.more(10);
        assertEquals(await pidOf(program.url, options), program.pid);
        assertEquals(await held.ask("still"), "still");
      });
    }
    await t.step("once the fault is corrected, the hand-over succeeds", async () => {
      const next = await handOver(program, program.pid);
      await arrivals.more(10);
      assertEquals(await pidOf(program.url, options), next);
      await arrivals.settle();
    });
  }, { "wss.json": "{}" });
});

Deno.test("SIGUSR2 twice at once starts one successor; SIGTERM during the hand-over ends both processes", async () => {
  // In the successor this app takes an hour to load.
  const slow = `if (Deno.env.get("WSS_HANDOVER")) await new Promise((go) => setTimeout(go, 3_600_000));`;
  await withProgram(["--drain-timeout", "1h", "--app", "./slow.ts"], async (program) => {
    program.signal("SIGUSR2");
    await program.stderr.until(/handing over to new process/);
    program.signal("SIGUSR2");
    await program.stderr.until(/already being replaced or stopped/);
    const { code, stderr } = await program.stop();
    assertEquals(code, 0);
    assertNotMatch(stderr, /Cannot hand over/);
  }, { "slow.ts": `${slow} export default { message(peer) { peer.send("ok"); } };` });
});
