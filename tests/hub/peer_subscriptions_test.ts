import { assertEquals, assertRejects } from "@std/assert";
import { silent } from "../../lib/log.ts";
import { Hub, type Member } from "../../lib/hub/hub.ts";
import { PeerSubscriptions } from "../../lib/hub/peer_subscriptions.ts";
import { defineApp } from "../../lib/mod.ts";
import { serving } from "../support/serving.ts";

Deno.test("subscriptions: their cost is the memory above 64 KiB, and falls when the peer leaves", () => {
  const hub = new Hub(silent);
  const subscriptions = new PeerSubscriptions(hub, { deliver() {} } as unknown as Member, "shop");
  for (let i = 0; i < 200; i++) assertEquals(subscriptions.join(`${i}`), 0);
  assertEquals(subscriptions.cost, 0);
  const long = "x".repeat(64 * 1024);
  const grown = subscriptions.join(long);
  assertEquals([grown > 2 * long.length - 64 * 1024, subscriptions.cost], [true, grown]);
  assertEquals([subscriptions.join(long), subscriptions.cost], [0, grown]);
  subscriptions.leave(long);
  subscriptions.leave(long);
  subscriptions.leave("never");
  assertEquals(subscriptions.cost, 0);
  assertEquals(subscriptions.join(long), grown);
  subscriptions.leaveAll();
  assertEquals([subscriptions.cost, subscriptions.joined.size, hub.topics.count], [0, 0, 0]);
  assertEquals(subscriptions.join(long) < grown, true, "the memory of the short topics is released, too");
});

Deno.test("over the memory budget, the peer with the most subscribed names is closed with 1013", async () => {
  const app = defineApp({
    message(peer, message) {
      peer.subscribe(message.text());
      peer.send(`${peer.topics.size}`);
    },
  });
  await using served = await serving(app, { mode: "proxied", memoryBudget: "4MiB" });
  await using small = await served.connect();
  await small.ask("news");
  await using big = await served.connect();
  const subscribed = async () => {
    for (let i = 0; i < 40; i++) await big.ask(`${i}`.padEnd(256 * 1024, "x"));
  };
  await assertRejects(subscribed, Error, "closed with 1013 memory budget exceeded: this client uses the most memory");
  assertEquals(await small.ask("more news"), "2");
  assertEquals([...served.service.peers].map(({ topics }) => topics.size), [2]);
});
