import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { StartError, UsageError } from "../../lib/errors.ts";
import { NODE_BYTES } from "../../lib/hub/broker.ts";
import { openBroker, type OpenOptions } from "../../lib/hub/brokers/open_broker.ts";
import { parseBroker, parseCredentials } from "../../lib/hub/brokers/broker_url.ts";
import { natsSessions } from "../../lib/hub/brokers/nats.ts";
import { redisSessions } from "../../lib/hub/brokers/redis.ts";
import { peerTest } from "../peers/require.ts";
import { openPki } from "../support/openssl.ts";
import { freePort } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { asUint32, node, settle, type TestNode, uint32 } from "./conformance.ts";
import {
  type Engine,
  fakeRedis,
  faultyEngine,
  fullPort,
  natsServer,
  openFaulty,
  redisCluster,
  redisServer,
  type Server,
} from "./engines.ts";

/** Connects to a broker that cannot be used, and returns the error message. */
async function refusal(url: string, options?: OpenOptions): Promise<string> {
  const listener = { down: () => {}, up: () => {}, problem: () => {} };
  const open = openBroker(parseBroker(url), { node: new Uint8Array(NODE_BYTES), listener }, options);
  const error = await assertRejects(() => open, StartError);
  return error.message;
}

peerTest(
  "redis-server",
  "broker: distinguishes an unreachable broker, another protocol and a silent server",
  async () => {
    const closed = freePort();
    for (const scheme of ["nats", "redis", "tls", "rediss"]) {
      const url = `${scheme}://127.0.0.1:${closed}`;
      assertMatch(
        await refusal(url),
        new RegExp(`^Cannot use the broker ${url}: it cannot be reached: .*refused`, "i"),
      );
    }
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    assertMatch(await refusal(`nats://127.0.0.1:${silent.addr.port}`), /: it cannot be reached: no answer within 5 s$/);
    await using redis = await redisServer();
    assertMatch(await refusal(redis.url.replace("redis", "nats")), /it cannot be reached: /);
  },
);

peerTest(["nats-server", "redis-server"], "broker: reports a wrong password without quoting it", async () => {
  await using nats = await natsServer({ config: `authorization { user: "app", password: "right" }` });
  await using redis = await redisServer({ config: "requirepass right" });
  for (const { url } of [nats, redis]) {
    for (const credentials of ["app:wrong-one@", ""]) {
      const message = await refusal(url.replace("://", `://${credentials}`));
      assertMatch(message, /authentication failed/);
      assert(!message.includes("wrong-one"), message);
    }
  }
  await using one = await node(withUrl(nats.url.replace("://", "://app:right@")));
  await using other = await node(withUrl(redis.url.replace("://", "://:right@")));
  assertEquals([one.broker.connected, other.broker.connected], [true, true]);
});

function withUrl(url: string, options?: OpenOptions): Engine {
  return {
    open: (start) => openBroker(parseBroker(url), start, options),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

Deno.test("broker: reads credentials from a file: user and password, token, or password", () => {
  assertEquals(parseCredentials("# ours\n\n app:pass:word \n", "nats"), { user: "app", password: "pass:word" });
  assertEquals(parseCredentials("s3cret", "nats"), { token: "s3cret" });
  assertEquals(parseCredentials("s3cret", "redis"), { user: "default", password: "s3cret" });
  const creds = "-----BEGIN NATS USER JWT-----\nx\n------END NATS USER JWT------\n";
  assertEquals(parseCredentials(creds, "nats"), { creds });
});

Deno.test("broker: a server that hangs while the subscriptions are restored is given up", async () => {
  await using engine = await faultyEngine();
  await using a = await node(engine);
  a.listen("x.t.one");
  engine.hung = "connectable";
  engine.cut("lost");
  await until(() => a.told.includes("problem: it has not answered for 0.3 s"));
  engine.hung = false;
  await until(() => a.told.at(-1) === "up");
  assertEquals([a.told[0], engine.channels], ["down: lost", new Set(["x.t.one"])]);
});

Deno.test("broker: an attempt begins with the server that was used last, unless it hung", async () => {
  await using first = await faultyEngine();
  await using second = await faultyEngine();
  await using a = await node({ ...first, open: (start) => openFaulty([first, second], start) });
  a.listen("x.t.one");
  first.cut("lost");
  await until(() => a.told.at(-1) === "up");
  assertEquals([first.channels, second.channels], [new Set(["x.t.one"]), new Set()]);
  // It hangs while the subscriptions are restored.
  first.hung = "connectable";
  first.cut("lost");
  await until(() => a.told.at(-1)!.startsWith("problem: it has not answered"));
  await until(() => a.told.at(-1) === "up");
  assertEquals(second.channels, new Set(["x.t.one"]));
  second.reachable = false;
  first.hung = true;
  second.cut("lost");
  await until(() => a.told.at(-1) === "problem: engine 1: it cannot be reached; engine 0: it cannot be reached");
  first.hung = false;
  await until(() => a.told.at(-1) === "up");
});

for (
  const [what, config, cause] of [
    [
      "a missing permission",
      `authorization { users = [ { user: app, password: x, permissions: { publish: { deny: "x.t.denied" } } } ] }`,
      (at) => void at.publish("x.t.denied", uint32(1)),
    ],
    ["a refused subscription", "max_subscriptions: 1", (at) => ["x.t.1", "x.t.2"].forEach((name) => at.listen(name))],
  ] satisfies [string, string, (at: TestNode) => void][]
) {
  peerTest("nats-server", `broker nats: ${what} is not the reason of a later disconnection`, async () => {
    await using server = await natsServer({ config });
    await using a = await node(withUrl(server.url.replace("://", config.includes("user") ? "://app:x@" : "://")));
    cause(a);
    await until(() => a.told.length > 0);
    assertMatch(a.told[0]!, /^problem: .*(permission|subscriptions)/i);
    await settle(a);
    await server.kill();
    await until(() => a.told.some((line) => line.startsWith("down")));
    assertMatch(a.told.find((line) => line.startsWith("down"))!, /^down: (the server closed|Connection reset)/i);
  });
}

peerTest("nats-server", "broker nats: an error that ends the connection is the reason", async () => {
  await using server = await natsServer({ config: "max_control_line: 300" });
  await using a = await node(server);
  a.listen(`x.t.${"a".repeat(400)}`);
  await until(() => a.told.some((line) => line.startsWith("down")));
  assertMatch(a.told.find((line) => line.startsWith("down"))!, /^down: .*control line/i);
});

for (const [name, start] of [["nats", natsServer], ["redis", redisServer]] as const) {
  peerTest(
    `${name}-server`,
    `broker ${name}: does not deliver frames that this node sent over an earlier connection`,
    async () => {
      await using server: Server = await start();
      const id = new Uint8Array(NODE_BYTES).fill(7);
      await using earlier = await node(server, id);
      await using current = await node(server, id);
      await using other = await node(server);
      for (const each of [current, other]) each.listen("x.t.own");
      await settle(earlier, current, other);
      earlier.publish("x.t.own", uint32(1));
      await other.heard(1);
      other.publish("x.t.own", uint32(2));
      await current.heard(1);
      assertEquals(current.frames.map(({ body }) => asUint32(body)), [2]);
    },
  );

  peerTest(
    `${name}-server`,
    `broker ${name}: after a restart it delivers to existing subscriptions`,
    async () => {
      await using server: Server = await start();
      await using a = await node(server);
      await using b = await node(server);
      b.listen("x.t.before");
      await settle(a, b);
      await server.kill();
      await until(() => a.told.length > 0 && b.told.length > 0);
      assertMatch(a.told[0]!, /^down: /);
      assertEquals([a.broker.connected, a.publish("x.t.before", uint32(1))], [false, false]);
      b.listen("x.t.meanwhile");
      await server.restart();
      await until(() => a.told.at(-1) === "up" && b.told.at(-1) === "up");
      a.publish("x.t.before", uint32(2));
      a.publish("x.t.meanwhile", uint32(3));
      await b.heard(2);
      await settle(a, b);
      assertEquals(b.frames.map(({ body }) => body[3]), [2, 3]);
      // An outage is reported once, even if later attempts to connect fail for other reasons.
      assertEquals(b.told.filter((what) => what.startsWith("down")).length, 1);
    },
  );

  peerTest(
    `${name}-server`,
    `broker ${name}: a hang is detected within seconds, and the broker is used again afterwards`,
    async () => {
      await using server: Server = await start();
      await using a = await node(server);
      await using b = await node(server);
      b.listen("x.t.one");
      await settle(a, b);
      await server.pause();
      const stopped = performance.now();
      await until(() => a.told.length > 0 && b.told.length > 0);
      const noticed = performance.now() - stopped;
      assert(noticed < 20_000, `${noticed} ms`);
      assertMatch(a.told[0]!, /^down: it has not answered for \d+ s$/);
      server.signal("SIGCONT");
      await until(() => a.told.at(-1) === "up" && b.told.at(-1) === "up");
      const before = b.frames.length;
      a.publish("x.t.one", uint32(7));
      await b.heard(before + 1);
      assertEquals(b.frames.at(-1)!.body[3], 7);
    },
  );

  peerTest(`${name}-server`, `broker ${name}: the first of several servers that answers is used`, async () => {
    using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    await using server: Server = await start();
    await using a = await node(withUrl(`${name}://127.0.0.1:${silent.addr.port},${server.url}`));
    await using b = await node(server);
    b.listen("x.t.one");
    await settle(b);
    a.publish("x.t.one", uint32(1));
    await b.heard(1);
  });

  peerTest(`${name}-server`, `broker ${name}: the end of the connection rejects a flush that waits`, async () => {
    await using server: Server = await start();
    await using a = await node(server);
    await server.pause();
    const waiting = [a.broker.flush(), a.broker.flush()];
    const rejected = Promise.all(waiting.map((flush) => assertRejects(() => flush, Error)));
    await server.kill();
    await rejected;
  });

  peerTest(`${name}-server`, `broker ${name}: an optional broker may start later`, async () => {
    await using server: Server = await start();
    await server.kill();
    const target = parseBroker(server.url);
    await using a = await node({ ...server, open: (given) => openBroker(target, given, { optional: true }) });
    assertMatch(a.told[0]!, /^down: it cannot be reached/);
    a.listen("x.t.one");
    await server.restart();
    await until(() => a.told.at(-1) === "up");
    await using b = await node(server);
    b.publish("x.t.one", uint32(1));
    await a.heard(1);
  });
}

for (const hang of ["HELLO", "CONFIG", "INFO", "CLUSTER"]) {
  Deno.test(`broker redis: an attempt that is given up while ${hang} is not answered leaves no connection`, async () => {
    await using server = fakeRedis(hang);
    const target = parseBroker(server.url);
    const attempt = new AbortController();
    const connecting = redisSessions(target.servers[0]!, target, [])(() => {}, attempt.signal);
    await server.hung;
    attempt.abort();
    await assertRejects(() => connecting, Error);
    await until(() => server.connections === 0);
  });
}

for (const [name, sessions] of [["nats", natsSessions], ["redis", redisSessions]] as const) {
  Deno.test(`broker ${name}: an attempt that is given up while the connection is opened ends at once`, async () => {
    await using full = await fullPort();
    const target = parseBroker(`${name}://127.0.0.1:${full.port}`);
    const attempt = new AbortController();
    const connecting = sessions(target.servers[0]!, target, [])(() => {}, attempt.signal);
    setTimeout(() => attempt.abort(), 100);
    await assertRejects(() => connecting, Error);
    assert(attempt.signal.aborted, "not before it was given up");
  });
}

peerTest("redis-server", "broker redis: each confirmed subscription counts as an answer of the server", async () => {
  await using server = await redisServer();
  const target = parseBroker(server.url);
  const session = await redisSessions(target.servers[0]!, target, [])(() => {}, new AbortController().signal);
  for (let i = 0; i < 100; i++) session.subscribe(`x.t.${i}`, () => {});
  await session.flush();
  assertEquals(session.progress, 100);
  session.abort("done");
});

peerTest("redis-server", "broker redis cluster: members that cannot be reached are passed over", async () => {
  await using cluster = await redisCluster();
  const closed = `redis://127.0.0.1:${freePort()},`;
  const url = `${closed.repeat(9)}${cluster.servers[0]!.url}`;
  await using a = await node(withUrl(url));
  await using b = await node(withUrl(url));
  b.listen("x.t.one");
  await settle(b);
  a.publish("x.t.one", uint32(1));
  await b.heard(1);
});

peerTest("redis-server", "broker redis cluster: delivers again after a member was killed and restarted", async () => {
  await using cluster = await redisCluster();
  await using a = await node(cluster);
  await using b = await node(cluster);
  // The slots of these channels are spread over all members.
  const channels = Array.from({ length: 12 }, (_, i) => `x.t.${i}`);
  for (const channel of channels) b.listen(channel);
  await settle(a, b);
  await cluster.servers[0]!.kill();
  await until(() => a.told.length > 0 && b.told.length > 0);
  await cluster.servers[0]!.restart();
  await until(() => a.told.at(-1) === "up" && b.told.at(-1) === "up");
  channels.forEach((channel, i) => a.publish(channel, uint32(i)));
  await b.heard(channels.length);
  assertEquals(new Set(b.frames.map(({ channel }) => channel)), new Set(channels));
});

peerTest(
  ["openssl", "nats-server", "redis-server"],
  "broker: verifies the certificate over TLS, and reports a server without TLS",
  async () => {
    await using pki = await openPki();
    const authority = await pki.authority("authority");
    const { cert, key } = await pki.leaf("server", { issuer: authority });
    const ca = [await Deno.readTextFile(authority.cert)];
    const config = `tls { cert_file: "${cert}", key_file: "${key}" }`;
    await using nats = await natsServer({ config, scheme: "tls" });
    const lines = `tls-cert-file ${cert}\ntls-key-file ${key}\ntls-ca-cert-file ${authority.cert}\ntls-auth-clients no`;
    await using redis = await redisServer({ config: lines, scheme: "rediss" });
    await using plainNats = await natsServer();
    await using plainRedis = await redisServer();
    for (const { url } of [nats, redis]) {
      assertMatch(await refusal(url), /: TLS failed: /, "an unknown authority");
      assertMatch(
        await refusal(url.replace("127.0.0.1", "127.0.0.2"), { ca }),
        /: (TLS failed|it cannot be reached): /,
      );
      await using a = await node(withUrl(url, { ca }));
      await using b = await node(withUrl(url.replace("127.0.0.1", "localhost"), { ca }));
      b.listen("x.t.one");
      await settle(b);
      a.publish("x.t.one", new Uint8Array([0, 255]));
      await b.heard(1);
      assertEquals([...b.frames[0]!.body], [0, 255]);
    }
    assertMatch(
      await refusal(plainNats.url.replace("nats", "tls"), { ca }),
      /: TLS failed: the server uses NATS without TLS/,
    );
    assertMatch(
      await refusal(plainRedis.url.replace("redis", "rediss"), { ca }),
      /: (TLS failed|it cannot be reached): /,
    );
    // A NATS server announces that it requires TLS. The client then uses TLS, although the scheme is nats.
    await using c = await node(withUrl(nats.url.replace("tls", "nats"), { ca }));
    assertEquals(c.broker.connected, true);
  },
);

Deno.test("broker: reports an invalid URL without the password", () => {
  const problems: [url: string, message: RegExp][] = [
    ["localhost:4222", /a URL that begins with nats:\/\/.* is required, not localhost:\/\/…$/],
    ["http://user:hidden@localhost", /begins with nats:\/\/.* is required, not http:\/\/…$/],
    ["nats://", /a host name is required|begins with/],
    [
      "redis://localhost/3",
      /localhost is followed by \/3; use --broker-prefix to separate services that share a broker/,
    ],
    ["redis://me:100%hidden@localhost", /special characters .* \(% as %25, .*, or use --broker-credentials-file$/],
    ["redis://me:%ffhidden@localhost", /% as %25/],
    ["nats://%hidden@localhost", /% as %25/],
    ["redis://me:hidden/x@localhost", /\/ as %2F/],
    ["redis://me:1/hidden@localhost", /scheme, credentials, host and port is required; .*\/ as %2F/],
    ["redis://me:hidden,x@localhost", /a comma as %2C/],
    ["redis://me:1?hidden,x@localhost", /a comma as %2C/],
    ["redis://me:x@localhost/hidden", /use --broker-prefix/],
    ["nats://a,redis://b", /members of one cluster are required, so all URLs must have the same scheme/],
  ];
  for (const [url, message] of problems) {
    const error = assertThrows(() => parseBroker(url), UsageError);
    assertMatch(error.message, message);
    assert(!error.message.includes("hidden"));
  }
  const { servers, shown, credentials } = parseBroker("nats://me:s%40t@[::1]:1234, nats://other");
  assertEquals(servers, [{ hostname: "::1", port: 1234 }, { hostname: "other", port: 4222 }]);
  assertEquals([shown, credentials], ["nats://[::1]:1234,nats://other:4222", { user: "me", password: "s@t" }]);
});
