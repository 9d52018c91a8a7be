/** The methods of the HTTP API, and its errors for invalid requests. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { call, servingAdmin } from "./admin.ts";

const ALONE = { complete: true, nodes: { asked: 1, answered: 1 } };

Deno.test("admin API: publish, send, subscribe, unsubscribe and disconnect reach their peers", async () => {
  await using served = await servingAdmin();
  const { service } = served;
  await using tom = await served.connect({ path: "/?user=tom" });
  await using ann = await served.connect({ path: "/?user=ann" });
  assertEquals(await tom.ask("news"), "joined");
  assertEquals(await ann.ask("news"), "joined");

  const done = { status: 200, body: { result: {} } };
  const does = async (method: string, parameters: unknown) => {
    const { status, body } = await call(service, method, parameters);
    assertEquals({ status, body }, done, method);
  };
  await does("publish", { topic: "news", data: "hello" });
  assertEquals([await tom.next(), await ann.next()], ["hello", "hello"]);
  await does("publish", { topics: ["news", "empty"], data: { text: "päng" } });
  assertEquals([await tom.next(), await ann.next()], ['{"text":"päng"}', '{"text":"päng"}']);
  await does("publish", { topic: "news", b64data: btoa("\0\xff") });
  for (const client of [tom, ann]) {
    assertEquals(new Uint8Array(await client.next() as unknown as ArrayBuffer), new Uint8Array([0, 255]));
  }
  const { body } = await call(service, "presence", { topic: "news" });
  const peer = body.result.peers.find(({ user }: { user: string }) => user === "tom").id;
  await does("publish", { topic: "news", data: null, except: peer });
  assertEquals(await ann.next(), "null");
  await does("send", { user: "tom", data: 1 });
  assertEquals(await tom.next(), "1");
  await does("send", { peer, data: "you" });
  assertEquals(await tom.next(), "you");
  await does("subscribe", { user: "ann", topic: "more" });
  await does("publish", { topic: "more", data: "more" });
  assertEquals(await ann.next(), "more");
  await does("unsubscribe", { user: "ann", topic: "more" });
  await does("publish", { topic: "more", data: "lost" });
  await does("send", { user: "ann", data: "last" });
  assertEquals(await ann.next(), "last");
  await does("disconnect", { user: "ann", code: 4001, reason: "bye" });
  const { code, reason } = await ann.closed;
  assertEquals({ code, reason }, { code: 4001, reason: "bye" });
});

Deno.test("admin API: presence, presence_stats, online, topics and nodes report the state", async () => {
  await using served = await servingAdmin();
  const { service } = served;
  await using tom = await served.connect({ path: "/?user=tom" });
  await using nobody = await served.connect();
  for (const client of [tom, nobody]) assertEquals(await client.ask("news"), "joined");
  assertEquals(await nobody.ask("other"), "joined");
  const result = async (method: string, parameters: unknown = {}) =>
    (await call(service, method, parameters)).body.result;
  const { peers, ...presence } = await result("presence", { topic: "news" });
  assertEquals(presence, { users: ["tom"], ...ALONE });
  assertEquals(peers.map(({ user }: { user?: string }) => user).sort(), ["tom", undefined]);
  assertEquals(await result("presence_stats", { topic: "news" }), { num_peers: 2, num_users: 1, ...ALONE });
  assertEquals(await result("online", { user: "tom" }), { online: true, peers: 1, ...ALONE });
  assertEquals(await result("online", { user: "ann" }), { online: false, peers: 0, ...ALONE });
  const news = { topic: "news", subscribers: 2 };
  assertEquals(await result("topics"), { topics: [news, { topic: "other", subscribers: 1 }], ...ALONE });
  assertEquals(await result("topics", { prefix: "n" }), { topics: [news], ...ALONE });
  const { nodes, complete } = await result("nodes");
  assertEquals([nodes.length, nodes[0].id, nodes[0].peers, complete], [1, service.nodeId, 2, true]);
});

Deno.test("admin API: a batch executes its commands in order and replies to each", async () => {
  await using served = await servingAdmin();
  await using client = await served.connect();
  assertEquals(await client.ask("news"), "joined");
  const commands = [
    ...Array.from({ length: 100 }, (_, at) => ({ publish: { topic: "news", data: `${at}` } })),
    { publish: { topic: "news" } },
    { online: { user: "tom" } },
    { batch: { commands: [] } },
    {},
  ];
  const { body } = await call(served.service, "batch", { commands });
  const { replies } = body.result;
  assertEquals(replies.length, commands.length);
  for (let at = 0; at < 100; at++) {
    assertEquals(replies[at], { publish: {} });
    assertEquals(await client.next(), `${at}`);
  }
  assertMatch(replies[100].error.message, /^data, b64data: exactly one of them is required/);
  assertEquals(replies[101], { online: { online: false, peers: 0, ...ALONE } });
  assertMatch(replies[102].error.message, /a batch cannot contain a batch/);
  assertMatch(replies[103].error.message, /^commands\[103\]/);
});

Deno.test("admin API: a publication with an idempotency key is published once", async () => {
  await using served = await servingAdmin();
  await using client = await served.connect();
  assertEquals(await client.ask("news"), "joined");
  for (const data of ["one", "again"]) {
    const { status } = await call(served.service, "publish", { topic: "news", data, idempotency_key: "k" });
    assertEquals(status, 200);
  }
  await call(served.service, "publish", { topic: "news", data: "two", idempotency_key: "l" });
  assertEquals([await client.next(), await client.next()], ["one", "two"]);
});

Deno.test("admin API: an invalid request is a 400 that names the field", async () => {
  await using served = await servingAdmin();
  const wrongs: [method: string, parameters: unknown, message: RegExp][] = [
    ["publish", {}, /^topic, topics: exactly one of them is required, but none was given/],
    ["publish", { topic: "a", topics: ["b"], data: "x" }, /^topic, topics: .* topic and topics were given/],
    ["publish", { topic: 7, data: "x" }, /^topic: a non-empty string is required, not 7/],
    ["publish", { topics: [], data: "x" }, /^topics: an array of topics is required, not an empty array/],
    ["publish", { topics: ["a", 1], data: "x" }, /^topics\[1\]: /],
    ["publish", { topic: "a" }, /^data, b64data: exactly one of them is required/],
    ["publish", { topic: "a", b64data: "%" }, /^b64data: bytes in base64/],
    ["publish", { topic: "a", dat: "x" }, /^dat: unknown field; did you mean data\?/],
    ["publish", '{"topic":"a","data":"x","__proto__":{"topic":"b"}}', /^__proto__: unknown field/],
    ["publish", { topic: "a", data: "x", constructor: 1 }, /^constructor: unknown field/],
    ["publish", { topic: "a", data: "x", idempotency_key: 1 }, /^idempotency_key: /],
    ["send", { data: "x" }, /^user, peer: exactly one of them is required/],
    ["subscribe", { user: "tom" }, /^topic is required/],
    ["disconnect", { user: "tom", code: 1005 }, /^code: a close code/],
    ["disconnect", { user: "tom", code: "1000" }, /^code: /],
    ["disconnect", { user: "tom", reason: "x".repeat(124) }, /^reason: a string of up to 123 bytes/],
    ["presence", { topic: null }, /^topic: a non-empty string is required, not null/],
    ["online", [], /^a JSON object is required, not an empty array/],
    ["nodes", { all: true }, /^all: unknown field; the method has no fields/],
    ["batch", { commands: {} }, /^commands: an array of commands/],
    ["publish", "{", /^the body is not JSON/],
  ];
  for (const [method, parameters, message] of wrongs) {
    const { status, body } = await call(served.service, method, parameters);
    assertEquals([status, body.error?.code], [400, 107], JSON.stringify([method, parameters, body]));
    assertMatch(body.error.message, message);
  }
  for (const method of ["publsh", "__proto__", "constructor", ""]) {
    const { status, body } = await call(served.service, method);
    assertEquals([status, body.error.code], [404, 104]);
    assertMatch(body.error.message, /the methods are publish, send, .*, batch/);
  }
  assert(served.lines.every(({ level }) => level !== "error"));
});
