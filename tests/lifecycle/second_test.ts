/** Reloads and hand-overs need `reusePort`. Nevertheless a second service cannot use the port by accident. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { makeFolder, runProgram, startProgram } from "../support/program.ts";
import { dial, isRefused } from "../support/raw.ts";

const TAKEN =
  /^wss: Cannot listen on \S+: the port is in use by another program; stop that one, or choose .* --port\n$/;

Deno.test("a second service on a port in use: one clear line and exit 1, whichever program holds the port", async (t) => {
  const pairs: [first: string, second: string][] = [
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "127.0.0.1"],
    ["127.0.0.1", "0.0.0.0"],
    ["0.0.0.0", "0.0.0.0"],
    ["::", "127.0.0.1"],
    ["127.0.0.1", "::"],
  ];
  for (const [first, second] of pairs) {
    await t.step(`${first}, then ${second}`, async () => {
      await using program = await startProgram(["--mode", "proxied", "--host", first]);
      const { code, stdout, stderr } = await runProgram([
        ...["--mode", "proxied", "--host", second, "--port", `${program.port}`],
      ]);
      assertEquals([code, stdout], [1, ""], stderr);
      assertMatch(stderr, TAKEN);
    });
  }
  await t.step("another program", async () => {
    using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { code, stderr } = await runProgram(["--port", `${listener.addr.port}`]);
    assertEquals(code, 1);
    assertMatch(stderr, TAKEN);
  });
});

Deno.test("a second service while the first reloads: a clear error every time, and the first keeps serving", async () => {
  const folder = await makeFolder();
  try {
    for (const name of ["one", "two"]) assertEquals((await runProgram(["cert", "--folder", name], { folder })).code, 0);
    await Deno.mkdir(`${folder}/live`);
    const put = async (name: string) => {
      for (const file of ["cert.pem", "key.pem"]) {
        await Deno.copyFile(`${folder}/${name}/${file}`, `${folder}/live/new`);
        await Deno.rename(`${folder}/live/new`, `${folder}/live/${file}`);
      }
    };
    await put("one");
    const args = ["--cert", "live/cert.pem", "--key", "live/key.pem", "--host", "127.0.0.1", "--app", "echo"];
    await using program = await startProgram(args, { folder });
    await using client = await Client.open(program.url, { ca: `${folder}/one/ca.pem` });
    let ended = false;
    const seconds = (async () => {
      // Some of these starts fall into a reload.
      for (let round = 0; round < 6; round++) {
        const { code, stderr } = await runProgram([...args, "--port", `${program.port}`], { folder });
        assertEquals(code, 1, stderr);
        assertMatch(stderr, /\nwss: Cannot listen on \S+: the port is in use/);
      }
    })().finally(() => ended = true);
    for (let round = 0; !ended; round++) {
      await put(round % 2 === 0 ? "two" : "one");
      const from = program.stderr.text.length;
      program.signal("SIGHUP");
      await program.stderr.until(/the new certificate is in use/, from);
    }
    await seconds;
    assertEquals(await client.ask("still"), "still");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the port is free at once after the service is killed, and after it stops", async () => {
  for (const signal of ["SIGKILL", "SIGTERM"] as const) {
    await using program = await startProgram(["--mode", "proxied", "--drain-timeout", "0"]);
    // A connection that stays open leaves the port in TIME_WAIT or FIN_WAIT.
    const connection = await dial({ port: program.port });
    await program.stop(signal);
    assert(await isRefused(program.port));
    await using next = await startProgram(["--mode", "proxied", "--port", `${program.port}`]);
    await using client = await Client.open(next.url);
    assertEquals(await client.ask("tom"), "ok");
    connection.close();
  }
});
