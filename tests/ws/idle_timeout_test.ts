import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { maskedFrame, Opcode, textFrame } from "../support/frames.ts";
import { dialUpgraded, writeAll } from "../support/raw.ts";
import { type Served, serving } from "../support/serving.ts";
import { readSlowly } from "./slow_reader.ts";

const SIZE = 4 * 1024 ** 2;
/** The client's pauses in milliseconds. It needs at least 9.6 seconds in total. */
const PAUSE = 150;

/** The arguments of the `close` hook. */
type Details = { readonly code?: number; readonly reason?: string };

/** Serves an app that sends messages of the requested length. */
async function sending(
  mode: "direct" | "proxied",
  idleTimeout: string,
): Promise<Served & { readonly closed: Promise<Details> }> {
  const closed = Promise.withResolvers<Details>();
  const app = defineApp({
    message: (peer, message) => void peer.send(new Uint8Array(Number(message.text()))),
    close: (_peer, details) => closed.resolve(details),
  });
  return { ...await serving(app, { mode, idleTimeout, maxBackpressure: "64MiB" }), closed: closed.promise };
}

for (const mode of ["direct", "proxied"] as const) {
  Deno.test(`a client that reads a long message slowly is not ended by the idle timeout, but is afterwards (${mode})`, async () => {
    await using served = await sending(mode, "4s");
    using conn = await dialUpgraded(served.raw);
    await writeAll(conn, textFrame(String(SIZE)));
    const lengths: number[] = [];
    // The client answers no pings.
    for await (const { opcode, payload } of readSlowly(conn, PAUSE)) {
      if (opcode !== Opcode.Binary) continue;
      lengths.push(payload.length);
      if (lengths.length === 1) await writeAll(conn, textFrame("10"));
    }
    assertEquals(lengths, [SIZE, 10]);
    assertEquals(await served.closed, { code: 1006, reason: "no pong: the client did not answer a ping" });
  });
}

for (const mode of ["direct", "proxied"] as const) {
  Deno.test(`a client that sends a long message slowly is not ended by the idle timeout, but is afterwards (${mode})`, async () => {
    const received = Promise.withResolvers<number>();
    const closed = Promise.withResolvers<Details>();
    const app = defineApp({
      message: (_peer, message) => received.resolve(message.uint8Array().length),
      close: (_peer, details) => closed.resolve(details),
    });
    // The watchdog needs two scans to see the message. On a busy machine they can be some seconds apart.
    await using served = await serving(app, { mode, idleTimeout: "10s" });
    using conn = await dialUpgraded(served.raw);
    const frame = maskedFrame(Opcode.Binary, new Uint8Array(1_000_000));
    // This takes at least 16 seconds. The client answers no pings.
    for (let at = 0; at < frame.length; at += 31_250) {
      await writeAll(conn, frame.subarray(at, at + 31_250));
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    assertEquals(await received.promise, 1_000_000);
    assertEquals(await closed.promise, { code: 1006, reason: "no pong: the client did not answer a ping" });
  });
}

Deno.test("a client that stops in the middle of a message is ended", async () => {
  await using served = await sending("proxied", "2s");
  using conn = await dialUpgraded(served.raw);
  await writeAll(conn, maskedFrame(Opcode.Binary, new Uint8Array(100_000)).subarray(0, 50_000));
  const begun = performance.now();
  assertEquals((await served.closed).code, 1006);
  assert(performance.now() - begun < 20_000, "the client kept its connection");
});

Deno.test("a client that stops reading a long message is ended", async () => {
  await using served = await sending("proxied", "2s");
  using conn = await dialUpgraded(served.raw);
  await writeAll(conn, textFrame(String(SIZE)));
  const begun = performance.now();
  assertEquals((await served.closed).code, 1006);
  assert(performance.now() - begun < 20_000, "the client kept its connection");
});
