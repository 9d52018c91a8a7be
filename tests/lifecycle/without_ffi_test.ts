/** Without --allow-ffi: one warning names the missing features, and all others work. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { peerTest } from "../peers/require.ts";
import { Client } from "../support/client.ts";
import { openPki } from "../support/openssl.ts";
import { runProgram, startProgram, WITHOUT_FFI } from "../support/program.ts";
import { serialOf } from "../support/raw.ts";
import { figures } from "../support/figures.ts";

const DRAIN = 3_000;

peerTest(
  "openssl",
  "without FFI: a reload serves the new certificate and makes all clients reconnect, spread over time",
  async (t) => {
    await using pki = await openPki();
    const root = await pki.authority("root");
    const ca = await Deno.readTextFile(root.cert);
    const first = await pki.leaf("first", { issuer: root });
    const next = await pki.leaf("next", { issuer: root });
    const [cert, key] = [await pki.bundle("cert.pem", first.cert), await pki.bundle("key.pem", first.key)];
    const args = [
      "--cert",
      cert,
      "--key",
      key,
      "--host",
      "127.0.0.1",
      "--app",
      "echo",
      "--drain-timeout",
      `${DRAIN}ms`,
    ];
    await using program = await startProgram(args, { permissions: WITHOUT_FFI });

    await t.step("one warning names the missing features and the remedy", () => {
      // Warnings about the test's own certificate do not count here.
      const warnings = program.stderr.lines.filter((line) =>
        /"level":"(warn|error)"/.test(line) && !/root|key/.test(line)
      );
      assertEquals(warnings.length, 1, program.stderr.text);
      assertMatch(warnings[0]!, /--allow-ffi.*40 ms.*reconnect.*503.*hand-over.*impossible/);
    });

    await t.step("a second service on the port fails with a clear error", async () => {
      const second = await runProgram([...args, "--port", `${program.port}`], { permissions: WITHOUT_FFI });
      assertEquals([second.code, second.stdout], [1, ""]);
      assertMatch(second.stderr, /\nwss: Cannot listen on 127\.0\.0\.1:\d+: the port is in use .*--port\n$/);
    });

    await t.step("SIGUSR2 logs that a hand-over is impossible, and the service keeps serving", async () => {
      program.signal("SIGUSR2");
      await program.stderr.until(/"level":"error","message":"Cannot hand over: this system cannot share the port/);
      await using client = await Client.open(program.url, { ca: root.cert });
      assertEquals(await client.ask("still"), "still");
    });

    await t.step("existing peers are told to reconnect, spread over --drain-timeout", async () => {
      // One after the other, because they are closed in the order in which they connected.
      const clients: Client[] = [];
      for (let count = 0; count < 20; count++) clients.push(await Client.open(program.url, { ca: root.cert }));
      const times: number[] = [];
      const codes: number[] = [];
      for (const { closed } of clients) {
        closed.then(({ code }) => (codes.push(code), times.push(performance.now())));
      }
      await Deno.copyFile(next.cert, cert);
      await Deno.copyFile(next.key, key);
      program.signal("SIGHUP");
      await program.stderr.until(new RegExp(`makes all clients reconnect","peers":20,"ms":${DRAIN}`));
      const last = clients.at(-1)!;
      assertEquals(await last.ask("not yet closed"), "not yet closed");
      await Promise.all(clients.map(({ closed }) => closed));
      assertEquals(codes, Array(20).fill(1012));
      const spread = times.at(-1)! - times[0]!;
      figures("1012 of twenty peers, first to last (ms)", { spread });
      assert(spread > DRAIN * 0.3 && spread < DRAIN * 5, `${spread} ms`);
      assertMatch((await last.closed).reason, /certificate.*reconnect/);
    });

    await t.step("reconnecting clients get the new certificate", async () => {
      const serial = new X509Certificate(await Deno.readTextFile(next.cert)).serialNumber.toLowerCase();
      // The kernel spreads new connections over both accept loops until the old loop has ended.
      const deadline = performance.now() + 20_000;
      for (let inRow = 0; inRow < 20;) {
        inRow = await serialOf(program.port, ca).catch(() => "") === serial ? inRow + 1 : 0;
        assert(performance.now() < deadline, "the old certificate is still served");
      }
      await using client = await Client.open(program.url, { ca: root.cert });
      assertEquals(await client.ask("again"), "again");
    });

    await t.step("a second service still fails with a clear error afterwards", async () => {
      const second = await runProgram([...args, "--port", `${program.port}`], { permissions: WITHOUT_FFI });
      assertEquals(second.code, 1);
      assertMatch(second.stderr, /the port is in use/);
      assertEquals((await program.stop()).code, 0);
    });
  },
);
