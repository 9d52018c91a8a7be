import { assertEquals } from "@std/assert";
import { serve } from "../../lib/service/serve.ts";
import ok from "../../lib/apps/reply_ok.ts";
import { Client } from "../support/client.ts";

Deno.test("ok answers ok to every message, in order", async () => {
  await using service = await serve(ok, { mode: "proxied", port: 0 });
  await using client = await Client.open(service.url);
  for (const message of ["tom", "", new Uint8Array([1]), "x".repeat(100_000)]) {
    assertEquals(await client.ask(message), "ok");
  }
  for (let i = 0; i < 100; i++) client.send("tom");
  for (let i = 0; i < 100; i++) assertEquals(await client.next(), "ok");
});
