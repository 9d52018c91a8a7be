/** The client side of a connection to a server that writes raw frames. */
import { assertEquals, assertRejects } from "@std/assert";
import { connectTcp } from "../../lib/client/raw_connection.ts";
import { DeadlineError, within } from "../../lib/client/deadline.ts";
import { ClientSession, type SessionEvent } from "../../lib/client/websocket_session.ts";
import { listenOnly, rawServer, writeAll } from "../check/test_servers.ts";

const forever = new AbortController().signal;

/** Returns the events of a session, at most 20. The server sends the bytes and then closes the connection. */
async function eventsOf(bytes: number[], most?: number): Promise<SessionEvent[]> {
  await using server = rawServer((connection) => writeAll(connection, new Uint8Array(bytes)));
  await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
  const session = new ClientSession(connection, new Uint8Array(0), most);
  const events: SessionEvent[] = [];
  while (events.length < 20) {
    const event = await session.next(forever);
    events.push(event);
    if (event.type === "end" || event.type === "invalid") break;
  }
  return events;
}

const text = (value: string) => [...new TextEncoder().encode(value)];

Deno.test("receives whole and fragmented messages, with a ping between the fragments", async () => {
  const events = await eventsOf([
    ...[0x81, 2, ...text("hi")],
    ...[0x01, 2, ...text("he"), 0x89, 1, 7, 0x00, 0, 0x80, 3, ...text("llo")],
    ...[0x82, 1, 255, 0x8a, 0],
  ]);
  assertEquals(events.map((event) => event.type), ["message", "ping", "message", "message", "pong", "end"]);
  assertEquals(events.flatMap((event) => event.type === "message" ? [event.data] : []), [
    "hi",
    "hello",
    new Uint8Array([255]),
  ]);
});

Deno.test("reads the code and the reason of a close frame", async () => {
  assertEquals((await eventsOf([0x88, 0]))[0], { type: "close", code: 1005, reason: "" });
  assertEquals((await eventsOf([0x88, 5, 3, 240, ...text("bye")]))[0], { type: "close", code: 1008, reason: "bye" });
});

Deno.test("invalid data ends a session", async () => {
  const cases: [name: string, bytes: number[], code: number][] = [
    ["a continuation without a first fragment", [0x80, 0], 1002],
    ["a new message between fragments", [0x01, 0, 0x81, 0], 1002],
    ["an incomplete close code", [0x88, 1, 3], 1002],
    ["a text that is not UTF-8", [0x81, 1, 0xff], 1007],
    ["a fragmented text that ends inside a character", [0x01, 1, 0xc3, 0x80, 0], 1007],
    ["a reason that is not UTF-8", [0x88, 3, 3, 232, 0xff], 1007],
    ["fragments over the limit", [0x02, 6, 1, 2, 3, 4, 5, 6, 0x80, 6, 1, 2, 3, 4, 5, 6], 1009],
  ];
  for (const [name, bytes, code] of cases) {
    const last = (await eventsOf(bytes, 10)).at(-1);
    assertEquals(last?.type === "invalid" && last.code, code, name);
  }
});

Deno.test("answers a ping and a close, and sends nothing after its close frame", async () => {
  const written: number[] = [];
  const ended = Promise.withResolvers<void>();
  await using server = rawServer(async (connection) => {
    await writeAll(connection, new Uint8Array([0x89, 1, 7, 0x88, 2, 3, 232]));
    const bytes = new Uint8Array(1024);
    for (let count = await connection.read(bytes); count !== null; count = await connection.read(bytes)) {
      written.push(...bytes.subarray(0, count));
    }
    ended.resolve();
  });
  {
    await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
    const session = new ClientSession(connection, new Uint8Array(0));
    assertEquals((await session.next(forever)).type, "ping");
    assertEquals((await session.next(forever)).type, "close");
    await session.send("too late", forever);
    await session.close(1000, "", forever);
  }
  await ended.promise;
  assertEquals([written[0], written[1]], [0x8a, 0x81]);
  assertEquals([written[7], written[8]], [0x88, 0x82]);
  assertEquals(written.length, 7 + 8);
});

Deno.test("waiting for an event ends when the signal aborts", async () => {
  await using server = rawServer(listenOnly);
  await using connection = await connectTcp({ hostname: "127.0.0.1", port: server.port }, forever);
  const session = new ClientSession(connection, new Uint8Array(0));
  await assertRejects(() => within(50, forever, (signal) => session.next(signal)), DeadlineError);
});
