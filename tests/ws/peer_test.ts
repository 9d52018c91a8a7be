import { assertEquals, assertMatch } from "@std/assert";
import { type App, defineApp, type Peer } from "../../lib/ws/app_types.ts";
import { handshake } from "../support/raw.ts";
import { type Served, serving } from "../support/serving.ts";
import { Notes } from "./notes.ts";

Deno.test("the hooks run in order, once each, with the request, the address and the context", async () => {
  const notes = new Notes<string>();
  let seen: Peer | undefined;
  const app = defineApp({
    upgrade(request) {
      notes.add(`upgrade ${new URL(request.url).search}`);
      return { context: { user: "tom" } };
    },
    open(peer) {
      seen = peer;
      notes.add("open");
    },
    message: (_peer, message) => notes.add(`message ${message.text()}`),
    close: (_peer, { code, reason }) => notes.add(`close ${code} ${reason}`),
  });
  await using served = await serving(app);
  const client = await served.connect({ path: "/wss?room=1", headers: { "X-Mine": "a, b" } });
  for (const text of ["1", "2", "3"]) client.send(text);
  await client.close(4000, "done");
  assertEquals(await notes.until(6), [
    "upgrade ?room=1",
    "open",
    "message 1",
    "message 2",
    "message 3",
    "close 4000 done",
  ]);

  const peer = seen!;
  assertMatch(peer.id, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assertEquals([peer.remoteAddress, peer.context, peer.protocol], ["127.0.0.1", { user: "tom" }, ""]);
  // The request stays readable after the connection has closed, any number of times.
  for (let time = 0; time < 2; time++) {
    assertEquals(new URL(peer.request.url).search, "?room=1");
    assertEquals(peer.request.headers.get("x-mine"), "a, b");
  }
  // The methods of a disconnected peer accept all calls and do not throw.
  assertEquals([peer.send("late"), peer.bufferedAmount], [false, 0]);
  peer.close(4001);
  peer.terminate();
  peer.subscribe("x");
  assertEquals([peer.topics.size, served.service.peers.size, notes.all.length], [0, 0, 6]);
});

Deno.test("text, binary and JSON are sent and echoed unchanged", async () => {
  const app = defineApp({
    message(peer, message) {
      peer.send(message.rawData);
      peer.send({ length: message.uint8Array().length });
      peer.send(message);
    },
  });
  await using served = await serving(app);
  await using client = await served.connect();
  client.send("é😀");
  assertEquals([await client.next(), await client.next(), await client.next()], ["é😀", '{"length":6}', "é😀"]);
  client.send(new Uint8Array([0, 255, 7]));
  assertEquals(new Uint8Array(await client.next() as ArrayBuffer), new Uint8Array([0, 255, 7]));
  assertEquals(await client.next(), '{"length":3}');
  assertEquals(new Uint8Array(await client.next() as ArrayBuffer), new Uint8Array([0, 255, 7]));
});

/** An app with one failing hook. The hook throws or rejects. */
function failing(hook: "open" | "message" | "drain", how: "throws" | "rejects", errors: Notes<string>): App {
  const fail = (peer: Peer): void | Promise<void> => {
    if (peer.context.victim !== true) return;
    const error = new TypeError(`${hook} ${how}`);
    if (how === "throws") throw error;
    return Promise.reject(error);
  };
  return {
    upgrade: (request) => ({ context: { victim: request.url.includes("victim") } }),
    open: (peer) => hook === "open" ? fail(peer) : undefined,
    message(peer, message) {
      if (hook === "message") {
        const failed = fail(peer);
        if (failed) return failed;
      }
      // The message exceeds half of the limit, so that the buffer drains later.
      if (message.text() === "fill") peer.send("x".repeat(600 * 1024));
      else peer.send("ok");
    },
    drain: (peer) => hook === "drain" ? fail(peer) : undefined,
    error: (peer, error) => errors.add(`${peer.context.victim} ${error.name} ${error.message}`),
  };
}

for (const hook of ["open", "message", "drain"] as const) {
  for (const how of ["throws", "rejects"] as const) {
    Deno.test(`a failing hook closes only its own peer with 1011: ${hook} ${how}`, async () => {
      const errors = new Notes<string>();
      await using served = await serving(failing(hook, how, errors));
      await using other = await served.connect();
      const victim = await served.connect({ path: "/?victim" });
      if (hook !== "open") victim.send(hook === "drain" ? "fill" : "now");
      assertEquals(await victim.closed, { code: 1011, reason: "internal error" });
      assertEquals(await errors.until(1), [`true TypeError ${hook} ${how}`]);

      assertEquals(await other.ask("tom"), "ok");
      await using later = await served.connect();
      assertEquals(await later.ask("tom"), "ok");
      const [line, ...more] = served.logged("a hook of the app threw");
      const message = "a hook of the app threw; its peer is closed with 1011";
      assertEquals([line?.level, line?.message, line?.hook, more], ["error", message, hook, []]);
      assertMatch(String(line?.peer), /^[0-9a-f-]{36}$/);
      assertMatch(String(line?.error), new RegExp(`^TypeError: ${hook} ${how}\n +at `));
    });
  }
}

for (const how of ["throws", "rejects"] as const) {
  Deno.test(`failing close and error hooks have no further effect: ${how}`, async () => {
    const notes = new Notes<string>();
    const fail = (what: string): void | Promise<void> => {
      notes.add(what);
      // A thrown value need not be an Error.
      if (how === "throws") throw what;
      return Promise.reject(what);
    };
    const app: App = {
      message: (peer) => void peer.send("ok"),
      close: () => fail("close failed"),
      error: (_peer, error) => fail(`error failed after: ${error.message}`),
    };
    await using served = await serving(app);
    await using other = await served.connect();
    await (await served.connect()).close();
    assertEquals(await notes.until(2), ["close failed", "error failed after: close failed"]);
    assertEquals(await other.ask("tom"), "ok");
    const failures = served.logged("a hook of the app threw").map(({ message, hook }) => [message, hook]);
    assertEquals(failures, [["a hook of the app threw", "close"]]);
    assertEquals(served.logged("the app's error hook threw").length, 1);
    assertEquals(served.service.peers.size, 1);
  });
}

Deno.test("a hook that fails after its peer began to close is logged without a claim about the close", async () => {
  const errors = new Notes<string>();
  const app = defineApp({
    message(peer) {
      peer.close(4000);
      throw new Error("late");
    },
    error: (_peer, { message }) => errors.add(message),
  });
  await using served = await serving(app, { mode: "proxied" });
  const client = await served.connect();
  client.send("begin");
  assertEquals((await client.closed).code, 4000);
  assertEquals(await errors.until(1), ["late"]);
  const [line] = served.logged("a hook of the app threw");
  assertEquals([line?.message, line?.hook], ["a hook of the app threw", "message"]);
});

Deno.test("accepts a message of exactly maxPayload, and closes with 1009 for one byte more", async () => {
  const seen = new Notes<number>();
  const app = defineApp({
    message(peer, message) {
      seen.add(message.uint8Array().length);
      peer.send("ok");
    },
  });
  await using served = await serving(app, { maxPayload: "4KiB" });
  const euros = "€".repeat(1365); // 4095 bytes, 1365 units
  for (
    const [fits, over] of [
      ["x".repeat(4096), "x".repeat(4097)],
      [euros + "x", euros + "xx"],
      ["é".repeat(2048), "é".repeat(2048) + "x"],
      ["😀".repeat(1024), "😀".repeat(1024) + "x"],
      [new Uint8Array(4096), new Uint8Array(4097)],
    ] as const
  ) {
    const client = await served.connect();
    assertEquals(await client.ask(fits), "ok");
    client.send(over);
    assertEquals(await client.closed, { code: 1009, reason: "message exceeds maxPayload (4096 bytes)" });
  }
  assertEquals(await seen.until(5), [4096, 4096, 4096, 4096, 4096]);
});

Deno.test("close: replaces codes that must not be sent by 1000 and logs them", async () => {
  const app = defineApp({
    message(peer, message) {
      const { code, reason } = message.json<{ code?: number; reason?: string }>();
      peer.close(code, reason);
      peer.close(4999, "the second close is none");
      peer.send("nor is anything after it");
    },
  });
  await using served = await serving(app);
  const closedWith = async (code?: number, reason?: string) => {
    const client = await served.connect();
    client.send(JSON.stringify({ code, reason }));
    return await client.closed;
  };
  for (const code of [0, 1, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65_536, 1000.5]) {
    assertEquals(await closedWith(code, "why"), { code: 1000, reason: "why" }, String(code));
  }
  // The log is throttled.
  assertEquals(served.logged("not allowed in a close frame").length, 5);
  for (const code of [1000, 1001, 1008, 1011, 1012, 1013, 3000, 4000, 4999]) {
    assertEquals(await closedWith(code, "why"), { code, reason: "why" });
  }
  assertEquals(await closedWith(), { code: 1000, reason: "" });
  assertEquals(await closedWith(4000, "€".repeat(60)), { code: 4000, reason: "€".repeat(41) });
  // The log is throttled.
  assertEquals(served.logged("not allowed in a close frame").length, 5);
});

Deno.test("each open has exactly one close, however the connection ends", async () => {
  const opened = new Set<string>();
  const closed = new Notes<{ id: string; code: number | undefined }>();
  const app = defineApp({
    open: (peer) => void opened.add(peer.id),
    message(peer, message) {
      if (message.text() === "close me") peer.close(4001);
      if (message.text() === "end me") peer.terminate();
      if (message.text() === "twice") {
        peer.close(4002);
        peer.terminate();
      }
      if (message.text() === "throw") throw new Error("thrown");
    },
    close: (peer, { code }) => closed.add({ id: peer.id, code }),
  });
  await using served = await serving(app, { mode: "proxied", maxPayload: "1KiB" });
  const ways: Record<string, { act: () => Promise<void>; code: number }> = {
    "the client closes": { act: async () => void await (await served.connect()).close(4003), code: 4003 },
    "the client closes without a code": {
      act: async () => {
        const client = await served.connect();
        client.socket.close();
        await client.closed;
      },
      code: 1005,
    },
    "the app closes": { act: () => sending(served, "close me"), code: 4001 },
    "the app terminates": { act: () => sending(served, "end me"), code: 1006 },
    "the app does both": { act: () => sending(served, "twice"), code: 4002 },
    "the app throws": { act: () => sending(served, "throw"), code: 1011 },
    "a message is too long": { act: () => sending(served, "x".repeat(2000)), code: 1009 },
    "the client vanishes": { act: () => vanish(served), code: 1006 },
  };
  let count = 0;
  for (let round = 0; round < 3; round++) {
    for (const [way, { act, code }] of Object.entries(ways)) {
      await act();
      const all = await closed.until(++count);
      assertEquals(all.at(-1)?.code, code, way);
    }
  }
  assertEquals([opened.size, new Set(closed.all.map(({ id }) => id)).size, closed.all.length], [count, count, count]);
  assertEquals(served.service.peers.size, 0);
});

/** Sends a message that ends the connection. */
async function sending(served: Served, text: string): Promise<void> {
  const client = await served.connect();
  client.send(text);
  await client.closed;
}

/** Connects, then disconnects without a close frame. */
async function vanish({ raw }: Served): Promise<void> {
  const conn = await Deno.connect({ port: raw.port });
  await conn.write(new TextEncoder().encode(handshake()));
  const buffer = new Uint8Array(1024);
  const read = await conn.read(buffer);
  assertMatch(new TextDecoder().decode(buffer.subarray(0, read ?? 0)), /^HTTP\/1\.1 101 /);
  conn.close();
}

/** Unusual values to throw. */
const ODD: Record<string, () => unknown> = {
  "an object without a prototype": () => Object.create(null),
  "an error whose stack throws": () => Object.defineProperty(new Error("odd"), "stack", { get: fails }),
  "an error whose message throws": () => Object.defineProperty(new Error(), "message", { get: fails }),
  "a symbol": () => Symbol("odd"),
  "nothing": () => undefined,
  "a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
};
/** Unusual return values. All of them fail. */
const ODD_RESULTS: Record<string, () => unknown> = {
  "a thenable that rejects": () => ({ then: (_: unknown, reject: (error: unknown) => void) => reject("odd") }),
  "a thenable that throws": () => ({ then: fails }),
  "a thenable whose then throws": () => Object.defineProperty({}, "then", { get: fails }),
  "a function with a then": () => Object.assign(() => {}, { then: fails }),
  "a promise of a class of its own": () =>
    new class extends Promise<void> {
      override then(): never {
        return fails();
      }
    }(() => {}),
};

function fails(): never {
  throw new Error("odd");
}

Deno.test("any thrown, rejected or returned value of a hook affects only its own peer", async (t) => {
  let odd: () => unknown;
  const app: App = {
    message(peer, message) {
      switch (message.text()) {
        case "throw":
          throw odd();
        case "reject":
          return Promise.reject(odd());
        case "return":
          return odd() as Promise<void>;
        default:
          peer.send("ok");
      }
    },
    error() {
      throw odd();
    },
  };
  await using served = await serving(app);
  await using other = await served.connect();
  const ways = [
    ...Object.entries(ODD).flatMap(([name, make]) => [["throw", name, make], ["reject", name, make]] as const),
    ...Object.entries(ODD_RESULTS).map(([name, make]) => ["return", name, make] as const),
  ];
  for (const [order, name, make] of ways) {
    await t.step(`${order}: ${name}`, async () => {
      odd = make;
      const victim = await served.connect();
      victim.send(order);
      assertEquals(await victim.closed, { code: 1011, reason: "internal error" });
      assertEquals(await other.ask("tom"), "ok");
    });
  }
  // The log is throttled.
  assertEquals(served.logged("a hook of the app threw").length, 5);
  assertEquals(served.logged("the app's error hook threw").length, 5);
});

Deno.test("messages received before the disconnect reach the app before the close hook", async () => {
  const seen = new Notes<string>();
  const app = defineApp({
    message(_peer, message) {
      // This takes longer than a peer's time per turn, so the following messages wait.
      for (const until = performance.now() + 3; performance.now() < until;);
      seen.add(message.text());
    },
    close: (_peer, { code }) => seen.add(`closed ${code}`),
  });
  await using served = await serving(app);
  const client = await served.connect();
  const texts = Array.from({ length: 200 }, (_, index) => String(index));
  for (const text of texts) client.send(text);
  await client.close(4000);
  assertEquals(await seen.until(201), [...texts, "closed 4000"]);
  assertEquals(served.service.peers.size, 0);
});

Deno.test("topics: a peer publishes to the others in order, and the service to all", async () => {
  const app = defineApp({
    open: (peer) => peer.subscribe("room"),
    message(peer, message) {
      if (message.text() === "leave") {
        peer.unsubscribe("room");
        peer.send([...peer.topics]);
      } else {
        peer.publish("room", message.text());
        peer.send("published");
      }
    },
  });
  await using served = await serving(app);
  await using a = await served.connect();
  await using b = await served.connect();
  const c = await served.connect();
  for (const text of ["1", "2"]) assertEquals(await a.ask(text), "published");
  for (const client of [b, c]) assertEquals([await client.next(), await client.next()], ["1", "2"]);
  served.service.publish("room", { from: "service" });
  for (const client of [a, b, c]) assertEquals(await client.next(), '{"from":"service"}');
  await c.close();
  assertEquals(await b.ask("leave"), "[]");
  assertEquals(await a.ask("3"), "published");
  served.service.publish("room", "4");
  assertEquals(await a.next(), "4");
  // If b had received 3 or 4, they would arrive before its own answer.
  assertEquals(await b.ask("5"), "published");
  assertEquals(await a.next(), "5");
});
