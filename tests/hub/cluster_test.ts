// Nodes run as separate processes and connect through a real broker. The tests cover normal operation and failures.
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { Complete, NodeList, Online, Presence, TopicList } from "../../lib/hub/service_calls.ts";
import { NEAR, VethLink } from "../support/veth_link.ts";
import { peerTest } from "../peers/require.ts";
import { startProgram } from "../support/program.ts";
import { acquainted, countsOf, eventually, type NodeClient, startNode } from "./cluster.ts";
import type { Command } from "./node_app.ts";
import { natsServer, redisServer, type Server } from "./engines.ts";

const ENGINES = [["nats-server", natsServer], ["redis-server", redisServer]] as const;

/** Asserts that the numbers are in order and that none is repeated. */
function assertAscending(numbers: readonly number[]): void {
  for (let i = 1; i < numbers.length; i++) {
    assert(numbers[i]! > numbers[i - 1]!, `${numbers[i - 1]} before ${numbers[i]}`);
  }
}

/** Asks until all nodes answer. Nodes discover each other after the start, which takes longer on a busy machine. */
function complete<T extends Complete>(client: NodeClient, command: Command): Promise<T> {
  return eventually(() => client.ask<T>(command), ({ complete }) => complete);
}

/** How often a text occurs in a program's log. */
const occurrences = (line: string, program: { stderr: { text: string } }) => program.stderr.text.split(line).length - 1;

for (const [name, start] of ENGINES) {
  peerTest(
    name,
    `three nodes over ${name}: topics, users, presence and nodes work, and a killed node is removed`,
    async () => {
      await using server = await start();
      await using one = await startNode(server.url);
      await using two = await startNode(server.url, ["--drain-timeout", "0"]);
      await using three = await startNode(server.url);
      await using a = await one.client("?user=tom");
      await using b = await two.client("?user=tom");
      await using c = await three.client("?user=eve");
      for (const client of [a, b, c]) await client.ask({ do: "subscribe", topic: "room" });
      await acquainted(3, a, b, c);
      for (const client of [a, b, c]) {
        const presence = await complete<Presence>(client, { do: "presence", name: "room" });
        assertEquals(
          [presence.peers.map(({ id }) => id).sort(), [...presence.users].sort(), presence.complete],
          [[a.id, b.id, c.id].sort(), ["eve", "tom"], true],
        );
      }
      assertEquals(await complete<Online>(c, { do: "online", user: "tom" }), {
        online: true,
        peers: 2,
        complete: true,
        nodes: { asked: 3, answered: 3 },
      });
      assertEquals(await complete<TopicList>(b, { do: "topics", name: "ro" }), {
        topics: [{ topic: "room", subscribers: 3 }],
        complete: true,
        nodes: { asked: 3, answered: 3 },
      });

      await a.ask({ do: "stream", topic: "room", from: 0, count: 1000, every: 0 });
      await Promise.all([a, b, c].map((client) => client.until(999)));
      for (const { numbers } of [a, b, c]) assertEquals(numbers, Array.from({ length: 1000 }, (_, i) => i));
      c.tell({ do: "send", user: "tom", data: "to tom" });
      await Promise.all(
        [a, b].map((client) => eventually(() => Promise.resolve(client.texts), (texts) => texts.length === 1)),
      );
      assertEquals([a.texts, b.texts, c.texts], [["to tom"], ["to tom"], []]);

      const asked = performance.now();
      three.program.signal("SIGKILL");
      await three.program.exited;
      const killed = performance.now();
      // A query waits for the killed node no longer than its timeout.
      const meanwhile = () => a.ask<Presence>({ do: "presence", name: "room" });
      await eventually(meanwhile, ({ peers }) => peers.length === 2);
      assert(performance.now() - killed < 30_000);
      await eventually(() => a.ask<NodeList>({ do: "nodes" }), ({ nodes }) => nodes.length === 2);
      const gone = performance.now() - killed;
      assert(gone < 30_000, `${gone} ms`);
      const after = await complete<Presence>(a, { do: "presence", name: "room" });
      assertEquals([after.peers.length, after.complete, after.users], [2, true, ["tom"]]);
      assert(asked <= killed);

      // A node that stops says so. The others remove it without waiting for the silence limit.
      const { code } = await two.program.stop();
      assertEquals(code, 0);
      const stopped = performance.now();
      await eventually(() => a.ask<NodeList>({ do: "nodes" }), ({ nodes }) => nodes.length === 1);
      assert(performance.now() - stopped < 4000);
    },
  );

  peerTest(
    name,
    `${name} killed and restarted after 3 s: losses are counted and reported, nothing is delivered twice`,
    async () => {
      await using server = await start();
      await outage(server, async () => {
        await server.kill();
        await new Promise((resolve) => setTimeout(resolve, 3000));
        await server.restart();
      });
    },
  );

  peerTest(name, `${name} stopped for 10 s: losses are counted and reported, nothing is delivered twice`, async () => {
    await using server = await start();
    await outage(server, async () => {
      server.signal("SIGSTOP");
      await new Promise((resolve) => setTimeout(resolve, 10_000));
      server.signal("SIGCONT");
    });
  });

  peerTest(
    [name, "ip"],
    `a partition between a node and ${name}: losses are counted and reported, nothing is delivered twice`,
    async () => {
      await using link = await VethLink.open();
      if (link === undefined) return;
      await using server = await start({ host: NEAR, wrapper: link.near });
      await outage(server, async () => {
        await link.setDown();
        await new Promise((resolve) => setTimeout(resolve, 8000));
        await link.setUp();
      }, link);
    },
  );

  peerTest(name, `a node suspended for 10 s over ${name}: its missed messages are counted`, async () => {
    await using server = await start();
    await using one = await startNode(server.url);
    // After the resume the broker sends its backlog at once: more than the default limit of a client's unread data.
    await using two = await startNode(server.url, ["--max-backpressure", "1GiB"]);
    await using a = await one.client();
    await using b = await two.client();
    await b.ask({ do: "subscribe", topic: "room" });
    await acquainted(2, a, b);
    let sent = 0;
    const publish = async (count: number, every: number, pad: number) => {
      await a.ask({ do: "stream", topic: "room", from: sent, count, every, pad });
      sent += count;
    };
    await publish(1, 0, 0);
    await b.until(0);
    const before = await a.ask<{ rss: number }>({ do: "memory" });
    two.program.signal("SIGSTOP");
    // More than the broker keeps for a client that does not read: 64 MiB with NATS, 32 MiB with Redis.
    await publish(2000, 5, 100_000);
    two.program.signal("SIGCONT");
    // No event tells when the node notices that it was disconnected. From then on it receives messages again.
    await eventually(() => publish(1, 0, 0), () => b.numbers.some((number) => number > 2000));
    await b.until(sent - 1);
    assertAscending(b.numbers);
    const [own, { missed }] = [await countsOf(a), await countsOf(b)];
    assertEquals(b.numbers.length + missed, sent);
    assert(missed > 0, "the broker kept all 200 MB");
    assertEquals(own.relayed + own.notRelayed, sent);
    const grown = (await a.ask<{ rss: number }>({ do: "memory" })).rss - before.rss;
    assert(grown < 150 * 1024 ** 2, `the publisher grew by ${grown} bytes`);
    const gaps = await eventually(() => b.ask<{ topics: string[] }[]>({ do: "gaps" }), (gaps) => gaps.length > 0);
    assertEquals(new Set(gaps.flatMap(({ topics }) => topics)), new Set(["room"]));
  });
}

/** Publishes during an outage and counts: each message sent is either delivered or counted as missed. */
async function outage(server: Server, fail: () => Promise<void>, link?: VethLink): Promise<void> {
  // With a link, the publisher's node runs on its far side.
  await using one = await startNode(server.url, [], link?.far);
  await using two = await startNode(server.url, [], link?.near);
  await using three = await startNode(server.url, [], link?.near);
  await using publisher = await one.client();
  await using near = await one.client();
  await using b = await two.client();
  await using c = await three.client();
  for (const client of [near, b, c]) await client.ask({ do: "subscribe", topic: "room" });
  await c.ask({ do: "subscribe", topic: "quiet" });
  await acquainted(3, near, b, c);

  // A node counts from the first message that it receives from a publisher.
  await publisher.ask({ do: "stream", topic: "room", from: 0, count: 50, every: 0 });
  await Promise.all([near, b, c].map((client) => client.until(49)));
  let sent = 50;
  let failing = true;
  const failed = fail().finally(() => failing = false);
  while (failing) {
    await publisher.ask({ do: "stream", topic: "room", from: sent, count: 50, every: 2 });
    sent += 50;
  }
  await failed;
  await acquainted(3, near, b, c);
  for (const client of [near, b, c]) {
    await eventually(() => client.ask<NodeList>({ do: "nodes" }), ({ complete }) => complete);
  }
  await publisher.ask({ do: "stream", topic: "room", from: sent, count: 50, every: 2 });
  sent += 50;
  await Promise.all([near, b, c].map((client) => client.until(sent - 1)));

  assertEquals(near.numbers, Array.from({ length: sent }, (_, i) => i), "peers on the publisher's node miss nothing");
  const own = await countsOf(near);
  assertEquals(own.relayed + own.notRelayed, sent);
  assert(own.notRelayed > 0);
  for (const client of [b, c]) {
    assertAscending(client.numbers);
    const { missed } = await countsOf(client);
    assertEquals(client.numbers.length + missed, sent);
    assert(missed >= own.notRelayed, `${missed} missed, ${own.notRelayed} not relayed`);
  }
  await assertGap(b, ["room"]);
  await assertGap(c, link ? ["room"] : ["quiet", "room"]);
  if (link === undefined) await assertGap(near, ["room"]);
  for (const { program } of link ? [one] : [one, two, three]) {
    assertEquals([occurrences("broker unreachable", program), occurrences("broker connection restored", program)], [
      1,
      1,
    ]);
    assertMatch(program.stderr.text, /"broker connection restored","broker":"[^"]+","seconds":[\d.]+,"notRelayed":\d+/);
  }
}

/** Asserts that the gaps reported to the node's app name exactly these topics. */
async function assertGap(client: NodeClient, topics: readonly string[]): Promise<void> {
  const gaps = await eventually(
    () => client.ask<{ topics: string[]; namespace: string }[]>({ do: "gaps" }),
    (gaps) => topics.every((topic) => gaps.some(({ topics }) => topics.includes(topic))),
  );
  assertEquals([...new Set(gaps.flatMap(({ topics }) => topics))].sort(), topics);
}

peerTest(
  "nats-server",
  "start: an unreachable broker is an error, or with --broker-optional the node waits for it",
  async () => {
    await using server = await natsServer();
    await server.kill();
    const refused = await startProgram(["--mode", "proxied", "--broker", server.url]).then(
      () => "it started",
      (error) => error.message as string,
    );
    assertMatch(
      refused,
      /ended with 1 before it listened:\nwss: Cannot use the broker nats:\/\/127\.0\.0\.1:\d+: it cannot be reached: [^\n]+\n$/,
    );
    await using node = await startNode(server.url, ["--broker-optional"]);
    await using client = await node.client();
    assertEquals((await client.ask<NodeList>({ do: "nodes" })).complete, false);
    await server.restart();
    await eventually(() => client.ask<NodeList>({ do: "nodes" }), ({ complete }) => complete);
  },
);
