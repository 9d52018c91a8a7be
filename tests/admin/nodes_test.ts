/** The HTTP API of one node reaches the peers of other nodes through a real broker. */
import { assert, assertEquals } from "@std/assert";
import type { Service } from "../../lib/mod.ts";
import { natsServer } from "../hub/engines.ts";
import { peerTest } from "../peers/require.ts";
import { until } from "../support/until.ts";
import { adminUrl, call, servingAdmin, value } from "./admin.ts";

peerTest("nats-server", "calls reach the peers of all nodes, and report how many nodes answered", async () => {
  await using server = await natsServer();
  await using one = await servingAdmin({ broker: server.url });
  await using other = await servingAdmin({ broker: server.url });
  await using client = await other.connect({ path: "/?user=tom" });
  assertEquals(await client.ask("news"), "joined");
  // When another node has answered, the broker has received the subscription, which was sent before the request.
  const reachesBoth = async ({ service }: { service: Service }) => {
    const { nodes, complete } = (await call(service, "nodes")).body.result;
    return complete && nodes.length === 2;
  };
  await until(async () => await reachesBoth(one) && await reachesBoth(other));
  const does = async (method: string, parameters: unknown) =>
    assertEquals((await call(one.service, method, parameters)).body, { result: {} }, method);
  await does("publish", { topic: "news", data: "published" });
  assertEquals(await client.next(), "published");
  await does("send", { user: "tom", data: "sent" });
  assertEquals(await client.next(), "sent");
  const both = { complete: true, nodes: { asked: 2, answered: 2 } };
  const result = async (method: string, parameters: unknown) =>
    (await call(one.service, method, parameters)).body.result;
  await does("subscribe", { user: "tom", topic: "more" });
  // A call is answered before the other nodes have received it.
  await until(async () => (await result("presence_stats", { topic: "more" })).num_peers >= 1);
  await does("publish", { topic: "more", data: "more" });
  assertEquals(await client.next(), "more");
  const { peers, ...presence } = await result("presence", { topic: "news" });
  assertEquals(presence, { users: ["tom"], ...both });
  assertEquals(peers[0].node, other.service.nodeId);
  assertEquals(await result("presence_stats", { topic: "more" }), { num_peers: 1, num_users: 1, ...both });
  assertEquals(await result("online", { user: "tom" }), { online: true, peers: 1, ...both });
  const topics = [{ topic: "more", subscribers: 1 }, { topic: "news", subscribers: 1 }];
  assertEquals(await result("topics", {}), { topics, ...both });
  const series = (direction: string) => `wss_broker_messages_total{direction="${direction}"}`;
  assert(await value(adminUrl(one.service), series("sent")) >= 2);
  assert(await value(adminUrl(other.service), series("received")) >= 2);
  await does("disconnect", { user: "tom", code: 4001, reason: "bye" });
  assertEquals(await client.closed, { code: 4001, reason: "bye" });
});
