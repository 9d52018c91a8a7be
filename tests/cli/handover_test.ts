import { assertEquals, assertMatch } from "@std/assert";
import { Client } from "../support/client.ts";
import { closedPort } from "../support/ports.ts";
import { runProgram, startProgram } from "../support/program.ts";

Deno.test("handing over: a predecessor that has gone is no reason not to serve", async () => {
  const note = JSON.stringify({ reportTo: closedPort(), token: "x", port: 0 });
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
