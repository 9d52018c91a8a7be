/** Deno's own WebSocket against the real program. */
import { assertEquals, assertRejects } from "@std/assert";
import { Client } from "../support/client.ts";
import { startProgram } from "../support/program.ts";

Deno.test("Deno's WebSocket, direct", async (t) => {
  await using program = await startProgram();

  for (const path of ["", "wss"]) {
    await t.step(`tom gets ok at /${path}`, async () => {
      await using client = await Client.open(program.url + path, { ca: program.ca });
      assertEquals(await client.ask("tom"), "ok");
      assertEquals(await client.ask(new Uint8Array([1, 2, 3])), "ok");
      assertEquals(await client.close(1000, "bye"), { code: 1000, reason: "bye" });
    });
  }

  await t.step("an address that the certificate names", async () => {
    await using client = await Client.open(`wss://127.0.0.1:${program.port}/`, { ca: program.ca });
    assertEquals(await client.ask("tom"), "ok");
  });

  await t.step("selects the service's subprotocol, but no unknown one", async () => {
    await using known = await Client.open(program.url, { ca: program.ca, protocols: ["mqtt", "wss.v1"] });
    assertEquals(known.socket.protocol, "wss.v1");
    await using unknown = await Client.open(program.url, { ca: program.ca, protocols: ["mqtt"] });
    assertEquals(unknown.socket.protocol, "");
  });

  await t.step("does not connect without trust in the authority", async () => {
    await assertRejects(() => Client.open(program.url), Error, "certificate");
  });

  await t.step("ws:// to the TLS port does not connect", async () => {
    await assertRejects(() => Client.open(`ws://localhost:${program.port}/`, { ca: program.ca }));
  });

  await t.step("an unknown path does not connect", async () => {
    await assertRejects(() => Client.open(program.url + "nothing", { ca: program.ca }));
    // Deno's client does not report the status, so the test reads it from the log.
    await program.stderr.until(/"message":"refused","status":404/);
  });
});
