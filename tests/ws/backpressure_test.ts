import { assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { serving } from "../support/serving.ts";
import { Notes } from "./notes.ts";

/** More than half of the default `maxBackpressure`. */
const LONG = "x".repeat(600 * 1024);

Deno.test("an app that fills the buffer again in its drain hook gets the next drain", async () => {
  const sent = new Notes<boolean>();
  const drains = new Notes<number>();
  const app = defineApp({
    message: (peer) => sent.add(peer.send(LONG) as boolean),
    drain(peer) {
      drains.add(drains.all.length + 1);
      if (drains.all.length < 3) sent.add(peer.send(LONG) as boolean);
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  client.send("begin");
  assertEquals(await drains.until(3), [1, 2, 3]);
  assertEquals(sent.all, [false, false, false]);
  for (let count = 0; count < 3; count++) assertEquals((await client.next() as string).length, LONG.length);
});
