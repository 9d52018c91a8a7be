/** The send buffer: its limits, the `drain` hook, and a peer that does not read. */
import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { serving } from "../support/serving.ts";
import { Notes } from "./notes.ts";

Deno.test("send returns false above half of the limit, drain is called when the buffer is empty, and everything arrives", async () => {
  const chunk = "x".repeat(64 * 1024);
  let held = 0;
  const app = defineApp({
    message(peer) {
      held = 1;
      while (peer.send(chunk) !== false) held++;
      // Each message counts as its bytes plus 1 KiB.
      assert((peer.bufferedAmount + held * 1024) * 2 > 1024 * 1024, `${peer.bufferedAmount} bytes`);
    },
    drain(peer) {
      assertEquals(peer.bufferedAmount, 0);
      peer.send("drained");
    },
  });
  await using served = await serving(app, { maxBackpressure: "1MiB" });
  await using client = await served.connect();
  for (let round = 0; round < 2; round++) {
    client.send("fill");
    let chunks = 0;
    while (await client.next() !== "drained") chunks++;
    assertEquals(chunks, held);
    // The eighth message exceeds 512 KiB.
    assertEquals(held, 8);
  }
});

Deno.test("a peer with more unsent bytes than maxBackpressure is closed with 1013, and no other", async () => {
  const closed = new Notes<number | undefined>();
  const app = defineApp({
    message(peer, message) {
      if (message.text() === "fill") { for (let sent = 0; sent < 100; sent++) peer.send("x".repeat(10_000)); }
      else peer.send("ok");
    },
    close: (_peer, { code }) => closed.add(code),
  });
  await using served = await serving(app, { maxBackpressure: "64KiB" });
  await using other = await served.connect();
  const client = await served.connect();
  client.send("fill");
  assertEquals(await client.closed, { code: 1013, reason: "reads too slowly: more than 65536 bytes are waiting" });
  assertEquals(await closed.until(1), [1013]);
  assertEquals(await other.ask("tom"), "ok");
});

Deno.test("a reading client gets everything, even beyond the limit: in open, as an echo, in one burst", async () => {
  const app = defineApp({
    open(peer) {
      const kind = new URL(peer.request.url).searchParams.get("send");
      if (kind === "one") peer.send("x".repeat(1_200_000));
      if (kind === "many") { for (let sent = 0; sent < 30; sent++) peer.send("y".repeat(50_000)); }
      if (kind === "longest") peer.send(new Uint8Array(20_000_000));
    },
    message: (peer, message) => void peer.send(message.rawData),
  });
  await using served = await serving(app, { maxPayload: "2MiB" });
  await using one = await served.connect({ path: "/?send=one" });
  assertEquals((await one.next() as string).length, 1_200_000);
  await using many = await served.connect({ path: "/?send=many" });
  for (let received = 0; received < 30; received++) assertEquals((await many.next() as string).length, 50_000);
  // The message exceeds the hard limit, but the buffer is empty.
  await using longest = await served.connect({ path: "/?send=longest" });
  assertEquals((await longest.next() as ArrayBuffer).byteLength, 20_000_000);
  await using echo = await served.connect();
  const whole = "z".repeat(2 * 1024 * 1024);
  assertEquals(await echo.ask(whole), whole);
  // Each message counts 1 KiB more: together they stay below the hard limit of 8 MiB even if the client reads none yet.
  for (let index = 0; index < 7_000; index++) echo.send(String(index));
  for (let index = 0; index < 7_000; index++) assertEquals(await echo.next(), String(index));
  assertEquals(served.service.peers.size, 4);
});
