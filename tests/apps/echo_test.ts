import { assertEquals } from "@std/assert";
import { serve } from "../../lib/service/serve.ts";
import echo from "../../lib/apps/echo.ts";
import { Client } from "../support/client.ts";

Deno.test("echo returns text as text and binary as binary", async (t) => {
  await using service = await serve(echo, { mode: "proxied", port: 0 });
  await using client = await Client.open(service.url);
  const megabyte = new Uint8Array(2 ** 20).map((_, i) => i * 7);

  const texts = { "a word": "tom", "nothing": "", "beyond ASCII": "tom ✓ 𝄞 汤姆\u0000", "1 MiB": "x".repeat(2 ** 20) };
  for (const [what, text] of Object.entries(texts)) {
    await t.step(`text: ${what}`, async () => assertEquals(await client.ask(text) === text, true));
  }

  const binaries = { "a few bytes": new Uint8Array([0, 255, 7]), "nothing": new Uint8Array(), "1 MiB": megabyte };
  for (const [what, bytes] of Object.entries(binaries)) {
    await t.step(`binary: ${what}`, async () => {
      const answer = await client.ask(bytes);
      assertEquals(new Uint8Array(answer as ArrayBuffer), bytes);
    });
  }

  await t.step("one byte more than 1 MiB is too long", async () => {
    client.send("x".repeat(2 ** 20 + 1));
    assertEquals((await client.closed).code, 1009);
  });
});
