// The user of a peer, the limit on connections per user, and the service's methods as available to an app.
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { defineApp, type ServiceCalls } from "../../lib/mod.ts";
import { adminUrl, value } from "../admin/admin.ts";
import { sign } from "../auth/signing.ts";
import { handshake, rawResponse } from "../support/raw.ts";
import { serving } from "../support/serving.ts";
import { until } from "../support/until.ts";

const SECRET = "a secret that is long enough for HS256";
const by = { algorithm: "HS256", privateKey: new TextEncoder().encode(SECRET) };
const withSecret = (folder: string) => Deno.writeTextFileSync(join(folder, "secret"), SECRET);

const telling = { message: (peer: { user?: string; send(data: unknown): unknown }) => void peer.send(`${peer.user}`) };

Deno.test("user: from upgrade, else the token's sub, else undefined", async () => {
  const bearer = async (claims: Record<string, unknown>) => ({
    headers: { authorization: `Bearer ${await sign(by, claims, { exp: 60 })}` },
  });
  const app = defineApp({
    upgrade: (request) => {
      const user = new URL(request.url).searchParams.get("user");
      return user === null ? {} : { user };
    },
    ...telling,
  });
  await using served = await serving(app, (folder) => {
    withSecret(folder);
    return { jwtSecretFile: join(folder, "secret") };
  });
  await using tom = await served.connect(await bearer({ sub: "tom" }));
  await using eve = await served.connect({ path: "/?user=eve", ...await bearer({ sub: "tom" }) });
  await using nobody = await served.connect(await bearer({}));
  assertEquals([await tom.ask("?"), await eve.ask("?"), await nobody.ask("?")], ["tom", "eve", "undefined"]);
  await using open = await serving(telling, { mode: "proxied" });
  await using client = await open.connect();
  assertEquals(await client.ask("?"), "undefined");
});

Deno.test("user: a value that is not a string is an error of the app", async () => {
  const app = defineApp({ upgrade: () => ({ user: 42 as unknown as string }) });
  await using served = await serving(app, { mode: "proxied" });
  assertEquals((await rawResponse(served.raw, handshake())).status, 500);
  assertEquals(served.logged("user must be a string, got number").length, 1);
});

Deno.test("maxConnectionsPerUser: 503 before the upgrade for the token's user, until a connection closes", async () => {
  await using served = await serving(telling, (folder) => {
    withSecret(folder);
    return { mode: "proxied", jwtSecretFile: join(folder, "secret"), maxConnectionsPerUser: 2 };
  });
  const headers = { authorization: `Bearer ${await sign(by, { sub: "tom" }, { exp: 60 })}` };
  const one = await served.connect({ headers });
  await using two = await served.connect({ headers });
  // The service counts a connection when it opens. The client may see the open connection before the service does.
  assertEquals([await one.ask("?"), await two.ask("?")], ["tom", "tom"]);
  const refused = await rawResponse(served.raw, handshake({ headers: { Authorization: headers.authorization } }));
  assertEquals(refused.status, 503);
  assertMatch(refused.body, /Connection limit of this user reached/);
  assertEquals(refused.headers.get("retry-after"), "10");
  assertEquals(served.logged("refused").length, 1);
  const other = { authorization: `Bearer ${await sign(by, { sub: "eve" }, { exp: 60 })}` };
  await using eve = await served.connect({ headers: other });
  assertEquals(await eve.ask("?"), "eve");
  await one.close();
  await until(() => served.service.peers.size === 2);
  await using three = await served.connect({ headers });
  assertEquals(await three.ask("?"), "tom");
});

Deno.test("maxConnectionsPerUser: 1008 for a user returned by upgrade, logged and counted, without calling hooks", async () => {
  const ran: string[] = [];
  const app = defineApp({
    upgrade: () => ({ user: "tom" }),
    open: (peer) => void ran.push(`open ${peer.user}`),
    close: (peer) => void ran.push(`close ${peer.user}`),
    ...telling,
  });
  await using served = await serving(app, { mode: "proxied", maxConnectionsPerUser: 1, admin: "127.0.0.1:0" });
  await using one = await served.connect();
  assertEquals(await one.ask("?"), "tom");
  await using two = await served.connect();
  assertEquals(await two.closed, { code: 1008, reason: "connection limit of this user reached" });
  assertEquals([ran, (await served.service.online("tom")).peers], [["open tom"], 1]);
  const limited = () => served.logged("connection closed by a limit");
  await until(() => limited().length > 0);
  const [line, ...more] = limited();
  assertEquals([line?.code, line?.reason, line?.address, more.length], [
    1008,
    "connection limit of this user reached",
    "127.0.0.1",
    0,
  ]);
  assertEquals(await value(adminUrl(served.service), 'wss_handshakes_refused_total{reason="limit"}'), 1);
});

Deno.test("an app that is a function gets the service's calls", async () => {
  let calls: ServiceCalls | undefined;
  const app = defineApp((service) => {
    calls = service;
    return {
      upgrade: (request) => ({ user: new URL(request.url).searchParams.get("user") ?? "nobody" }),
      async message(peer, message) {
        peer.subscribe("room");
        const { users, complete } = await service.presence("room");
        service.send({ user: message.text() }, `${peer.user} is here with ${users.length}, ${complete}`);
      },
    };
  });
  await using served = await serving(app, { mode: "proxied" });
  await using tom = await served.connect({ path: "/?user=tom" });
  await using eve = await served.connect({ path: "/?user=eve" });
  eve.send("tom");
  assertEquals(await tom.next(), "eve is here with 1, true");
  assertEquals(calls === served.service, true);
  assertEquals((await served.service.topics()).topics, [{ topic: "room", subscribers: 1 }]);
  const { peers } = await served.service.presence("room");
  assertEquals(peers.map(({ user, node }) => [user, node]), [["eve", served.service.nodeId]]);
  served.service.subscribe({ user: "tom" }, "room");
  served.service.publish("room", "all but eve", { except: peers[0]!.id });
  assertEquals(await tom.next(), "all but eve");
  served.service.disconnect({ peer: peers[0]!.id }, { code: 4001, reason: "go" });
  assertEquals(await eve.closed, { code: 4001, reason: "go" });
  assert((await served.service.nodes()).complete);
});

Deno.test("two services of one process share their topics through a local broker", async () => {
  const broker = `local:${crypto.randomUUID()}`;
  const app = defineApp({
    open: (peer) => peer.subscribe("news"),
    message: (peer, message) => peer.publish("news", message.text()),
  });
  await using one = await serving(app, { broker });
  await using two = await serving(app, { mode: "proxied", broker });
  await using a = await one.connect();
  await using b = await two.connect();
  await until(async () => (await one.service.topics()).topics[0]?.subscribers === 2);
  a.send("over TLS");
  assertEquals(await b.next(), "over TLS");
  b.send("behind a proxy");
  assertEquals(await a.next(), "behind a proxy");
});
