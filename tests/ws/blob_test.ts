// The order of messages around a Blob, which is read before it is sent.
import { assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { serving } from "../support/serving.ts";

/** Reading a Blob takes about as long for the app as for the service, so these cover the end of the service's reading. */
const MICROTASKS = Array.from({ length: 13 }, (_, index) => index);

/** Waits this many microtasks. */
async function microtasks(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await null;
}

Deno.test("a message or a close just after a Blob follows it, after any number of microtasks", async () => {
  const app = defineApp({
    async message(peer, message) {
      const { then, read, count } = message.json<{ then: string; read: "bytes" | "arrayBuffer"; count: number }>();
      const blob = new Blob(["abc"]);
      peer.send(blob);
      await blob[read]();
      await microtasks(count);
      if (then === "close") peer.close(4000, "after the Blob");
      else peer.send(then);
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  for (const read of ["bytes", "arrayBuffer"] as const) {
    for (const count of MICROTASKS) {
      client.send(JSON.stringify({ then: `text ${count}`, read, count }));
      assertEquals((await client.next() as ArrayBuffer).byteLength, 3);
      assertEquals(await client.next(), `text ${count}`);
      const closing = await served.connect();
      closing.send(JSON.stringify({ then: "close", read, count }));
      assertEquals((await closing.next() as ArrayBuffer).byteLength, 3);
      assertEquals(await closing.closed, { code: 4000, reason: "after the Blob" });
    }
  }
});
