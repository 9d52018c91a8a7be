import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { StartError } from "../../lib/errors.ts";
import { silent } from "../../lib/log.ts";
import { Channels } from "../../lib/hub/channel_names.ts";
import { Hub } from "../../lib/hub/hub.ts";
import { topicKey } from "../../lib/hub/topic_names.ts";
import { peerTest } from "../peers/require.ts";
import { node } from "./conformance.ts";
import { type Engine, faultyEngine, localEngine, natsServer, redisServer } from "./engines.ts";
import { until } from "../support/until.ts";
import { hubOn, settle } from "./test_hub.ts";

/** A timeout long enough for a busy machine. */
const LONG = { timeout: 20_000 };

const ENGINES: [name: string, start: () => Promise<Engine>, programs: string[]][] = [
  ["local", localEngine, []],
  ["nats", natsServer, ["nats-server"]],
  ["redis", redisServer, ["redis-server"]],
  ["faulty", faultyEngine, []],
];

for (const [name, start, programs] of ENGINES) {
  peerTest(
    programs,
    `hub over ${name}: delivers text and bytes to a topic's subscribers on every node`,
    async () => {
      await using engine = await start();
      await using a = await hubOn(engine);
      await using b = await hubOn(engine);
      await using c = await hubOn(engine);
      const sender = a.join({ topics: ["news"] });
      const [near, far, further] = [a, b, c].map((hub) => hub.join({ topics: ["news"] }));
      const shop = b.join({ namespace: "shop", topics: ["news"] });
      await settle(a, b, c);
      sender.publish("news", "grüße 💬");
      sender.publish("news", new Uint8Array([0, 255, 128]));
      sender.publish("news", "");
      sender.publish("news", "x".repeat(10_000));
      a.calls.publish(["news", "nobody"], "all");
      a.calls.publish("news", "some", { except: far!.id });
      a.calls.publish("news", "shop", { namespace: "shop" });
      assertEquals(near!.got.length, 6, "peers on the same node receive at once");
      await until(() => further!.got.length === 6 && shop.got.length === 1);
      const all = ["grüße 💬", [0, 255, 128], "", "x".repeat(10_000), "all"];
      assertEquals([near!.got, further!.got, far!.got], [[...all, "some"], [...all, "some"], all]);
      assertEquals([sender.got, shop.got], [["all", "some"], ["shop"]]);
    },
  );

  peerTest(programs, `hub over ${name}: a node receives no messages of topics without local subscribers`, async () => {
    await using engine = await start();
    await using a = await hubOn(engine);
    await using b = await hubOn(engine);
    const peer = b.join({ topics: ["wanted"] });
    await settle(a, b);
    const before = b.hub.info().counts!.received;
    for (let i = 0; i < 1000; i++) a.calls.publish("unwanted", "x");
    a.calls.publish("wanted", "x");
    await until(() => peer.got.length === 1);
    const heard = b.hub.info().counts!.received - before;
    assert(heard < 50, `${heard} frames, announcements among them`);
    assertEquals(a.hub.info().counts!.missed, 0);
  });

  peerTest(programs, `hub over ${name}: calls reach users and peers on any node`, async () => {
    await using engine = await start();
    await using a = await hubOn(engine);
    await using b = await hubOn(engine);
    const [tom1, tom2, eve] = [
      a.join({ user: "tom" }),
      b.join({ user: "tom", namespace: "shop" }),
      b.join({ user: "eve" }),
    ];
    await settle(a, b);
    a.calls.send({ user: "tom" }, "both");
    a.calls.send({ peer: eve.id }, "eve");
    b.calls.send({ peer: tom1.id }, new Uint8Array([7]));
    b.calls.send({ peer: crypto.randomUUID() }, "nobody");
    b.calls.send({ peer: "not an id" }, "nobody");
    a.calls.subscribe({ user: "tom" }, "room");
    a.calls.subscribe({ peer: eve.id }, "room");
    await until(() => tom1.got.length === 2 && tom2.got.length === 1 && eve.got.length === 1);
    assertEquals([tom1.got, tom2.got, eve.got], [["both", [7]], ["both"], ["eve"]]);
    await until(() =>
      b.hub.topics.size(topicKey("", "room")) === 1 && b.hub.topics.size(topicKey("shop", "room")) === 1
    );
    assertEquals(a.hub.topics.size("room"), 1);
    b.calls.unsubscribe({ user: "tom" }, "room");
    await until(() => a.hub.topics.size("room") === 0);
    assertEquals(b.hub.topics.size(topicKey("shop", "room")), 0);
    a.calls.disconnect({ user: "tom" }, { code: 4000, reason: "bye" });
    a.calls.disconnect({ peer: eve.id });
    await until(() => tom2.closed.length === 1 && eve.closed.length === 1);
    assertEquals([tom1.closed, tom2.closed, eve.closed], [[[4000, "bye"]], [[4000, "bye"]], [[undefined, undefined]]]);
  });

  peerTest(
    programs,
    `hub over ${name}: presence, users, topics and nodes cover all nodes`,
    async () => {
      await using engine = await start();
      await using a = await hubOn(engine);
      await using b = await hubOn(engine);
      await using c = await hubOn(engine);
      const [p, q, r] = [
        a.join({ user: "tom", topics: ["room:1", "room:2"] }),
        b.join({ user: "tom", topics: ["room:1"] }),
        b.join({ topics: ["room:1", "other"] }),
      ];
      c.join({ namespace: "shop", user: "eve", topics: ["room:1"] });
      await settle(a, b, c);
      const by = (x: { id: string }, y: { id: string }) => x.id < y.id ? -1 : 1;
      for (const { calls } of [a, b, c]) {
        const presence = await calls.presence("room:1", LONG);
        assertEquals(
          [[...presence.peers].sort(by), presence.users, presence.complete],
          [
            [p, q, r].map(({ id, user }) => ({ id, user, node: id.slice(24) })).sort(by),
            ["tom"],
            true,
          ],
        );
        assertEquals((await calls.presence("room:1", { namespace: "shop", ...LONG })).users, ["eve"]);
        assertEquals(await calls.presence("empty", LONG), { peers: [], users: [], ...OF_THREE });
        assertEquals(await calls.online("tom", LONG), { online: true, peers: 2, ...OF_THREE });
        assertEquals(await calls.online("nobody", LONG), { online: false, peers: 0, ...OF_THREE });
        assertEquals(await calls.topics("room:", LONG), {
          topics: [{ topic: "room:1", subscribers: 3 }, { topic: "room:2", subscribers: 1 }],
          ...OF_THREE,
        });
        const { nodes } = await calls.nodes();
        assertEquals(nodes.map(({ id }) => id).sort(), [a, b, c].map(({ hub }) => hub.id).sort());
        await until(() => nodes.length === 3);
      }
    },
  );

  peerTest(programs, `hub over ${name}: a long answer arrives complete`, async () => {
    await using engine = await start();
    await using a = await hubOn(engine);
    await using b = await hubOn(engine);
    const count = 3000;
    for (let i = 0; i < count; i++) b.join({ user: `user ${i} ${"x".repeat(i % 300)}`, topics: ["big"] });
    await settle(a, b);
    const presence = await a.calls.presence("big", LONG);
    assertEquals([presence.peers.length, presence.users.length, presence.complete], [count, count, true]);
  });

  peerTest(programs, `hub over ${name}: services with different prefixes are separate`, async () => {
    await using engine = await start();
    await using a = await hubOn(engine, "one");
    await using b = await hubOn(engine, "two");
    await using c = await hubOn(engine, "one");
    const [peer, stranger] = [c.join({ topics: ["news"] }), b.join({ topics: ["news"] })];
    await settle(a, c);
    a.calls.publish("news", "x");
    await until(() => peer.got.length === 1);
    assertEquals([stranger.got, (await b.calls.nodes()).nodes.length], [[], 1]);
  });

  peerTest(
    programs,
    `hub over ${name}: a stopping node leaves at once, and a restarted node has a new id`,
    async () => {
      await using engine = await start();
      await using a = await hubOn(engine);
      const ids = new Set<string>();
      // The silence limit is 5 s. A busy machine may be as slow once, but not three times.
      let took = Infinity;
      for (let attempt = 0; attempt < 3 && took > 3_000; attempt++) {
        const b = await hubOn(engine);
        assert(!ids.has(b.hub.id));
        ids.add(b.hub.id);
        b.join({ topics: ["news"], user: "tom" });
        await settle(a, b);
        await b[Symbol.asyncDispose]();
        const stopped = performance.now();
        await until(async () => (await a.calls.nodes()).nodes.length === 1);
        took = performance.now() - stopped;
        assertEquals((await a.calls.presence("news", LONG)).peers, []);
      }
      assert(took < 3_000, `${took} ms`);
      await using again = await hubOn(engine);
      assert(!ids.has(again.hub.id));
      assertMatch(again.hub.id, /^[0-9a-f]{12}$/);
    },
  );
}

const OF_THREE = { complete: true, nodes: { asked: 3, answered: 3 } };

Deno.test("hub without a broker: the calls work for one node and are complete", async () => {
  await using one = await hubOn(undefined);
  const [tom, eve] = [one.join({ user: "tom", topics: ["news"] }), one.join({ topics: ["news"] })];
  one.calls.publish("news", "1", { except: tom.id });
  one.calls.send({ user: "tom" }, "2");
  one.calls.send({ peer: eve.id }, "3");
  assertEquals([tom.got, eve.got], [["2"], ["1", "3"]]);
  assertEquals((await one.calls.presence("news")).complete, true);
  assertEquals(await one.calls.online("tom"), {
    online: true,
    peers: 1,
    complete: true,
    nodes: { asked: 1, answered: 1 },
  });
  assertEquals((await one.calls.topics()).topics, [{ topic: "news", subscribers: 2 }]);
  const { nodes, complete } = await one.calls.nodes();
  assertEquals([nodes.map(({ id, peers }) => [id, peers]), complete], [[[one.hub.id, 2]], true]);
  assertThrows(() => one.calls.send({} as { user: string }, "x"), TypeError, "Cannot send: { user: string }");
  assertThrows(() => one.calls.subscribe({ user: "a", peer: "b" } as never, "x"), TypeError, "Cannot subscribe");
});

Deno.test("hub: a peer's id is a UUID that ends with its node's id", () => {
  const hub = new Hub(silent);
  const ids = Array.from({ length: 1000 }, () => hub.peerId());
  assertEquals(new Set(ids).size, 1000);
  for (const id of ids) {
    assertMatch(id, new RegExp(`^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-${hub.id}$`));
  }
});

Deno.test("hub: counts missed messages exactly, and reports a gap of their topics", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  await using b = await hubOn(engine);
  const peer = b.join({ topics: ["news"] });
  await settle(a, b);
  let i = 0;
  const publish = (count: number) => {
    for (let k = 0; k < count; k++) a.calls.publish("news", `${i++}`);
  };
  publish(10);
  await until(() => peer.got.length === 10);
  engine.fault = () => [];
  publish(5);
  await Promise.resolve();
  await new Promise((resolve) => setTimeout(resolve, 20));
  engine.fault = (frame) => [frame];
  publish(10);
  await until(() => peer.got.length === 20 && b.gaps.length === 1);
  assertEquals([b.hub.info().counts!.missed, b.gaps], [5, [{ namespace: "", topics: ["news"] }]]);
  assertEquals(peer.got, Array.from({ length: 25 }, (_, i) => `${i}`).filter((_, i) => i < 10 || i >= 15));
});

Deno.test("hub: drops repeated and late frames", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  await using b = await hubOn(engine);
  const peer = b.join({ topics: ["news"] });
  await settle(a, b);
  a.calls.publish("news", "0");
  await until(() => peer.got.length === 1);
  engine.fault = (frame) => [frame, frame];
  a.calls.publish("news", "1");
  await until(() => peer.got.length === 2);
  const kept: Uint8Array<ArrayBuffer>[] = [];
  engine.fault = (frame) => kept.push(frame.slice()) < 3 ? [] : kept.toReversed();
  for (const text of ["2", "3", "4"]) a.calls.publish("news", text);
  await until(() => peer.got.length === 3);
  assertEquals(peer.got, ["0", "1", "4"]);
  // Of the three frames two were late, and an earlier frame was repeated. Announcements may add to the count.
  assert(b.hub.info().counts!.late >= 3);
});

Deno.test("hub: without the broker a node serves its own peers; missed messages are counted and logged once", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  await using b = await hubOn(engine);
  const [near, far] = [a.join({ topics: ["news", "other"] }), b.join({ topics: ["news"] })];
  b.join({ namespace: "shop", topics: ["x"] });
  await settle(a, b);
  a.calls.publish("news", "0");
  await until(() => far.got.length === 1);
  engine.reachable = false;
  // The reason of the failed attempts to reconnect, which are therefore not logged.
  engine.cut("it cannot be reached");
  await until(() => a.logged.length > 0 && b.logged.length > 0);
  const before = a.hub.info().counts!.notRelayed;
  for (let i = 1; i <= 100; i++) a.calls.publish("news", `${i}`);
  assertEquals([near.got.length, a.hub.info().counts!.notRelayed - before], [101, 100]);
  assertEquals((await a.calls.presence("news")).complete, false);
  assertEquals((await a.calls.nodes()).complete, false);
  engine.reachable = true;
  await until(() => a.gaps.length === 1 && b.gaps.length === 2);
  assertEquals(a.gaps, [{ namespace: "", topics: ["news", "other"] }]);
  assertEquals(b.gaps, [{ namespace: "", topics: ["news"] }, { namespace: "shop", topics: ["x"] }]);
  a.calls.publish("news", "101");
  await until(() => far.got.length === 2);
  assertEquals([far.got, b.hub.info().counts!.missed], [["0", "101"], 100]);
  for (const { logged } of [a, b]) {
    assertEquals(logged.filter((line) => /broker/.test(line)), [
      "broker unreachable; messages reach only this node's own peers",
      "broker connection restored",
    ]);
  }
  assertEquals((await a.calls.presence("news", LONG)).peers.length, 2);
});

Deno.test("hub: unsubscribes a channel one second after the last subscriber left, unless a subscriber returns", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  const peer = a.join();
  peer.subscribe("stays");
  peer.subscribe("leaves");
  assert(engine.channels.has("wss.t.@.stays") && engine.channels.has("wss.t.@.leaves"));
  peer.unsubscribe("stays");
  peer.unsubscribe("leaves");
  assert(engine.channels.has("wss.t.@.leaves"), "not at once");
  peer.subscribe("stays");
  await until(() => !engine.channels.has("wss.t.@.leaves"));
  assert(engine.channels.has("wss.t.@.stays"));
});

peerTest(
  "nats-server",
  "hub: a message above the broker's limit is not relayed and is logged as an error",
  async () => {
    await using engine = await natsServer({ config: "max_payload: 2000" });
    await using a = await hubOn(engine);
    await using b = await hubOn(engine);
    const [near, far] = [a.join({ topics: ["news"] }), b.join({ topics: ["news"] })];
    await settle(a, b);
    a.calls.publish("news", "x".repeat(1985));
    a.calls.publish("news", "x".repeat(1986));
    a.calls.publish("news", "end");
    await until(() => far.got.length === 2);
    assertEquals([near.got.length, far.got.map(({ length }) => length)], [3, [1985, 3]]);
    assertEquals(a.logged, ["message exceeds the broker's limit; it reaches only this node's own peers"]);
    assertEquals([a.hub.info().counts!.tooLarge, b.hub.info().counts!.missed], [1, 1]);
  },
);

peerTest(["nats-server", "redis-server"], "hub: a missing permission is reported at the start", async () => {
  const permissions =
    `authorization { users = [ { user: app, password: x, permissions: { publish: "none", subscribe: "wss.>" } } ] }`;
  await using nats = await natsServer({ config: permissions });
  await using redis = await redisServer({ config: "user app on >x ~* &* +@all -publish" });
  for (const { url } of [nats, redis]) {
    const { openBroker } = await import("../../lib/hub/brokers/open_broker.ts");
    const { parseBroker } = await import("../../lib/hub/brokers/broker_url.ts");
    const open: Engine["open"] = (start) => openBroker(parseBroker(url.replace("://", "://app:x@")), start);
    const error = await assertRejects(
      () => hubOn({ open, [Symbol.asyncDispose]: () => Promise.resolve() }),
      StartError,
    );
    assertMatch(error.message, /^Cannot use the broker test: .*wss\.\* is required.*[Pp]ermission/);
  }
});

Deno.test("hub: ignores foreign data on its channels", async () => {
  await using engine = await faultyEngine();
  await using a = await hubOn(engine);
  const peer = a.join({ topics: ["news"], user: "tom" });
  await using stranger = await node(engine);
  const stamped = (kind: number, text: string) =>
    Uint8Array.from([kind, 0, 0, 0, 0, 0, 0, 0, 0, ...new TextEncoder().encode(text)]);
  const channels = new Channels("wss");
  const all = [channels.everyNode, channels.node(a.hub.id), channels.user("tom"), channels.topic("news")];
  const commands = ["null", "7", "{", "[]", '{"do":"beat"}', '{"do":"hello"}', '{"do":"ask"}', '{"do":"disconnect"}'];
  for (const channel of all) {
    for (const bytes of [new Uint8Array(0), new Uint8Array(8), stamped(4, ""), stamped(255, "x")]) {
      stranger.publish(channel, bytes);
    }
    for (const command of commands) stranger.publish(channel, stamped(2, command));
  }
  await settle(a);
  a.calls.publish("news", "still here");
  assertEquals([peer.got.at(-1), peer.closed], ["still here", []]);
  assertEquals((await a.calls.nodes()).nodes.length, 1);
});
