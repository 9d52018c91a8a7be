// The order of messages around a Blob, which is read before it is sent.
import { assertEquals } from "@std/assert";
import { defineApp, type Peer } from "../../lib/ws/app_types.ts";
import type { SocketFacade } from "../../lib/ws/socket_facade.ts";
import { serving } from "../support/serving.ts";
import { Notes } from "./notes.ts";

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

Deno.test("a Blob that cannot be read closes its peer with 1011, is logged as such and passed to the error hook", async () => {
  class UnreadableBlob extends Blob {
    override bytes(): Promise<Uint8Array<ArrayBuffer>> {
      return Promise.reject(new Error("unreadable"));
    }
  }
  const errors = new Notes<string>();
  const app = defineApp({
    message(peer) {
      peer.send(new UnreadableBlob());
      peer.send("dropped");
    },
    error: (_peer, { message }) => errors.add(message),
  });
  await using served = await serving(app, { mode: "proxied" });
  const client = await served.connect();
  client.send("begin");
  assertEquals(await client.closed, { code: 1011, reason: "internal error" });
  assertEquals(await errors.until(1), ["unreadable"]);
  const lines = served.lines.filter(({ level }) => level === "error").map(({ message, hook }) => [message, hook]);
  assertEquals(lines, [["a Blob could not be read; its peer is closed with 1011", undefined]]);
});

Deno.test("a peer that is sent ever more Blobs within one turn is closed with 1013", async () => {
  const results = new Notes<number>();
  const app = defineApp({
    message(peer) {
      const blob = new Blob(["a"]);
      let count = 0;
      while (count < 100_000 && peer.send(blob)) count++;
      results.add(count);
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  const client = await served.connect();
  client.send("begin");
  assertEquals((await client.closed).code, 1013);
  // The first task has begun, and 10,000 wait.
  assertEquals(await results.until(1), [10_001]);
});

Deno.test("bufferedAmount and waitForDrain include what waits for a Blob, so that many Blobs can be sent", async () => {
  const count = 20_000;
  const amounts = new Notes<readonly number[]>();
  const app = defineApp({
    async message(peer) {
      const before = peer.bufferedAmount;
      peer.send(new Blob(["abc"]));
      peer.send("four");
      amounts.add([before, peer.bufferedAmount]);
      const blob = new Blob(["a"]);
      for (let sent = 0; sent < count; sent++) {
        if (sent % 1_000 === 0) await peer.waitForDrain({ pollInterval: 1 });
        if (!peer.send(blob)) await peer.waitForDrain({ pollInterval: 1 });
      }
      peer.send("all sent");
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  client.send("begin");
  let blobs = 0;
  for (let message; (message = await client.next()) !== "all sent";) if (typeof message !== "string") blobs++;
  assertEquals(blobs, 1 + count);
  assertEquals(await amounts.until(1), [[0, 7]]);
});

Deno.test("after a close that waits for a Blob, send returns false and readyState is closing", async () => {
  const states = new Notes<unknown>();
  const stateOf = (peer: Peer) => (peer.websocket as SocketFacade).readyState;
  const app = defineApp({
    message(peer) {
      const blob = new Blob(["abc"]);
      const open = [stateOf(peer), peer.send(blob)];
      peer.close(4000, "after the Blob");
      states.add([open, [stateOf(peer), peer.send("late"), peer.send(blob)]]);
    },
    close: (peer) => states.add([stateOf(peer), peer.send(new Blob(["x"])), peer.bufferedAmount]),
  });
  await using served = await serving(app, { mode: "proxied" });
  const client = await served.connect();
  client.send("begin");
  assertEquals((await client.next() as ArrayBuffer).byteLength, 3);
  assertEquals(await client.closed, { code: 4000, reason: "after the Blob" });
  assertEquals(await states.until(2), [[[1, true], [2, false, false]], [3, false, 0]]);
});
