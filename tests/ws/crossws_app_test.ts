/**
 * Apps written for crossws run on this service. The tests check the peer, the message and `upgrade` that such apps
 * receive. crossws_types_test.ts checks the types.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { defineHooks, type Peer } from "crossws";
import { handshake, rawExchange } from "../support/raw.ts";
import { serving } from "../support/serving.ts";

Deno.test("crossws: peers and messages convert to text, and a message has its id and peer", async () => {
  const app = defineHooks({
    open: (peer) => void peer.send(`${peer} ${peer.id}`),
    message: (peer, message) =>
      void peer.send(`${message} ${message.peer === peer} ${message.id === message.id} ${message.id}`),
  });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  assertMatch(String(await client.next()), /^([0-9a-f-]{36}) \1$/);
  assertMatch(String(await client.ask("tom")), /^tom true true [0-9a-f-]{36}$/);
});

Deno.test("crossws: sends undefined, numbers and objects as crossws does", async () => {
  const values: unknown[] = [null, undefined, 7, 10n, false, { a: 1 }];
  const app = defineHooks({ message: (peer, message) => void peer.send(values[Number(message.text())]) });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  const seen = [];
  for (const at of values.keys()) seen.push(await client.ask(String(at)));
  assertEquals(seen, ["", "", "7", "10", "false", '{"a":1}']);
});

Deno.test("crossws: a namespace has its own topics and peers; its default is the path", async () => {
  const app = defineHooks({
    upgrade: (request) => {
      const namespace = new URL(request.url).searchParams.get("in");
      return namespace === null ? {} : { namespace };
    },
    open: (peer) => peer.subscribe("news"),
    message(peer, message) {
      if (message.text() === "who") peer.send(`${peer.namespace}:${peer.peers.size}:${peer.peers.has(peer)}`);
      else peer.publish("news", message.text());
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using a1 = await served.connect({ path: "/?in=a" });
  await using a2 = await served.connect({ path: "/wss?in=a" });
  await using b = await served.connect({ path: "/?in=b" });
  await using root = await served.connect({ path: "/" });
  await using root2 = await served.connect({ path: "/?x=1" });
  await using wss = await served.connect({ path: "/wss" });
  const all = [a1, a2, b, root, root2, wss];
  const who = () => Promise.all(all.map((client) => client.ask("who")));
  const told = ["a:2:true", "a:2:true", "b:1:true", "/:2:true", "/:2:true", "/wss:1:true"];
  assertEquals(await who(), told);
  a1.send("from a");
  root.send("from /");
  wss.send("from /wss");
  assertEquals([await a2.next(), await root2.next()], ["from a", "from /"]);
  // Messages to a peer arrive in order, so a message for another namespace would arrive before the expected one.
  served.service.publish("news", "to /", { namespace: "/" });
  served.service.publish("news", "to b", { namespace: "b" });
  served.service.publish("a\u0000news", "to nobody");
  served.service.publish("news", "to all");
  assertEquals([await root.next(), await root2.next(), await b.next()], ["to /", "to /", "to b"]);
  for (const client of all) assertEquals(await client.next(), "to all");
  assertEquals((await served.service.presence("news")).peers.length, 6);
  assertEquals((await served.service.presence("news", { namespace: "a" })).peers.length, 2);
  assertEquals((await served.service.topics()).topics, [{ topic: "news", subscribers: 6 }]);
  assertEquals(await who(), told);
});

Deno.test("crossws: waitForDrain ends with the empty buffer, the peer's close or the signal", async () => {
  const { promise, resolve } = Promise.withResolvers<Peer>();
  const app = defineHooks({ open: (peer) => resolve(peer) });
  await using served = await serving(app, { mode: "proxied", maxBackpressure: "64MiB" });
  await using client = await served.connect();
  const peer = await promise;
  await peer.waitForDrain();
  const size = 16 * 1024 ** 2;
  peer.send(new Uint8Array(size));
  assert(peer.bufferedAmount > 0);
  const received = client.next();
  await peer.waitForDrain({ pollInterval: 5 });
  assertEquals(peer.bufferedAmount, 0);
  assertEquals((await received as ArrayBuffer).byteLength, size);

  peer.send(new Uint8Array(size));
  const failure = await peer.waitForDrain({ signal: AbortSignal.abort(new Error("enough")) }).catch(String);
  assertEquals(failure, "Error: enough");
});

Deno.test("upgrade: each peer has its own context, even if the app returns a shared object", async () => {
  const shared = Object.freeze({ room: "lobby" });
  const app = defineHooks({
    upgrade: () => ({ context: shared }),
    message(peer, message) {
      peer.send(JSON.stringify(peer.context));
      peer.context.name = message.text();
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using tom = await served.connect();
  await using ann = await served.connect();
  assertEquals([await tom.ask("tom"), await ann.ask("ann")], ['{"room":"lobby"}', '{"room":"lobby"}']);
  assertEquals(await tom.ask("again"), '{"room":"lobby","name":"tom"}');
});

Deno.test("upgrade: sends the app's headers and cookies, except those that would break the handshake", async () => {
  const headers = new Headers({ "x-who": "me", connection: "close", "content-length": "5", upgrade: "h2c" });
  headers.append("set-cookie", "a=1; Path=/");
  headers.append("set-cookie", "b=2");
  headers.set("sec-websocket-accept", "forged");
  await using served = await serving(defineHooks({ upgrade: () => ({ headers }) }), { mode: "proxied" });
  const response = await rawExchange(served.raw, handshake());
  assertEquals(response?.status, 101);
  assertEquals(response?.headers.getSetCookie(), ["a=1; Path=/", "b=2"]);
  assertEquals(
    ["x-who", "connection", "upgrade", "content-length", "sec-websocket-accept"].map((name) =>
      response?.headers.get(name)
    ),
    ["me", "Upgrade", "websocket", null, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
  );
});

Deno.test("upgrade: a Response that is returned, thrown or attached to an error refuses the handshake", async () => {
  const refusal = () => new Response("not you", { status: 403, headers: { "x-why": "because" } });
  const app = defineHooks({
    upgrade(request) {
      const { pathname } = new URL(request.url);
      if (pathname === "/returned") return refusal();
      if (pathname === "/thrown") throw refusal();
      throw Object.assign(new Error("refused"), { response: refusal() });
    },
  });
  await using served = await serving(app, { mode: "proxied", path: ["/returned", "/thrown", "/carried"] });
  for (const target of ["/returned", "/thrown", "/carried"]) {
    const response = await rawExchange(served.raw, handshake({ target }));
    assertEquals([response?.status, response?.headers.get("x-why"), response?.body], [403, "because", "not you"]);
  }
});

Deno.test("upgrade: a pending hook cannot admit a client after the service has stopped", async () => {
  const asked = Promise.withResolvers<void>();
  const answer = Promise.withResolvers<void>();
  const opened: string[] = [];
  const app = defineHooks({
    async upgrade() {
      asked.resolve();
      await answer.promise;
      return {};
    },
    open: (peer) => void opened.push(peer.id),
  });
  await using served = await serving(app, { mode: "proxied" });
  const response = rawExchange(served.raw, handshake());
  await asked.promise;
  const stopped = served.service.stop();
  answer.resolve();
  assertEquals([(await response)?.status, (await response)?.headers.get("retry-after")], [503, "1"]);
  await stopped;
  assertEquals(opened, []);
});

Deno.test("crossws: sends a Blob as bytes in order, also before a close", async () => {
  const app = defineHooks({
    open: (peer) => peer.subscribe("news"),
    message(peer) {
      peer.send("before");
      peer.send(new Blob(["one ", "blob"]));
      peer.send("between");
      peer.send(new Blob([new Uint8Array(100_000).fill(7)]));
      peer.send(new Uint8Array([1, 2, 3]));
      peer.send("compressed", { compress: true });
      peer.close(4000, "done");
    },
  });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  client.send("go");
  const all = [];
  for (let at = 0; at < 6; at++) {
    const data = await client.next();
    all.push(typeof data === "string" ? data : new Uint8Array(data));
  }
  assertEquals(all, [
    "before",
    new TextEncoder().encode("one blob"),
    "between",
    new Uint8Array(100_000).fill(7),
    new Uint8Array([1, 2, 3]),
    "compressed",
  ]);
  assertEquals(await client.closed, { code: 4000, reason: "done" });
  assertEquals(served.logged("compress is ignored").length, 1);
});

Deno.test("crossws: sending an unsupported value closes the peer, and the reason is logged", async () => {
  const app = defineHooks({ message: (peer) => void peer.send(new Map([["a", 1]])) });
  await using served = await serving(app, { mode: "proxied" });
  await using client = await served.connect();
  client.send("go");
  assertEquals((await client.closed).code, 1011);
  assertMatch(JSON.stringify(served.lines), /Cannot send a Map: text, bytes or a JSON value is required/);
});
