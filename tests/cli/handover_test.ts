import { assertEquals, assertMatch } from "@std/assert";
import { Client } from "../client.ts";
import { runProgram, startProgram } from "../program.ts";

Deno.test(
  { name: "handing over: asked twice, one successor takes the port", ignore: Deno.build.os !== "linux" },
  async () => {
    await using program = await startProgram();
    program.signal("SIGUSR2");
    await program.stderr.until(/handing over/);
    program.signal("SIGUSR2");
    const [, successor] = await program.stderr.until(/process (\d+) has taken over/);
    try {
      await program.stderr.until(/"message":"stopped"/);
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.ask("tom"), "ok");
    } finally {
      Deno.kill(Number(successor), "SIGTERM");
    }
    const { code, stderr } = await program.ended;
    assertEquals([code, stderr.match(/handing over/g)?.length, stderr.match(/"message":"listening"/g)?.length], [
      0,
      1,
      2,
    ]);
  },
);

Deno.test("handing over: a predecessor that has gone is no reason not to serve", async () => {
  const gone = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = gone.addr;
  gone.close();
  const note = JSON.stringify({ reportTo: port, token: "x", port: 0 });
  await using program = await startProgram([], { env: { WSS_HANDOVER: note } });
  await program.stderr.until(/the process that handed over has gone/);
  await using client = await Client.open(program.url, { ca: program.ca });
  assertEquals(await client.ask("tom"), "ok");
});

Deno.test("handing over: a note that no predecessor wrote is a mistake", async () => {
  for (const note of ["junk", "null", "{}"]) {
    const { code, stderr } = await runProgram([], { env: { WSS_HANDOVER: note } });
    assertEquals(code, 2);
    assertMatch(stderr, /^wss: WSS_HANDOVER is what .*: unset it\n/);
  }
});
