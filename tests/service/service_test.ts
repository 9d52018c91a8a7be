import { assert, assertEquals, assertInstanceOf, assertMatch, assertRejects } from "@std/assert";
import { join } from "node:path";
import { defineApp, serve, StartError, UsageError } from "../../lib/mod.ts";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { Client } from "../support/client.ts";
import { handshake, rawResponse } from "../support/raw.ts";
import { serving } from "../support/serving.ts";

const ok = defineApp({ message: (peer) => void peer.send("ok") });

/** Options of a service without certificate files: plain WebSocket on loopback. */
const PLAIN: ServiceOptions = { mode: "proxied", port: 0, drainTimeout: 0 };

/** Milliseconds, far longer than any expected wait: other tests run at the same time. */
const LONG = 30_000;

Deno.test("serve: two services in one process have their own addresses and peers, and stop when disposed", async () => {
  let ports: number[];
  {
    await using one = await serve(ok, PLAIN);
    await using two = await serve(defineApp({ message: (peer) => void peer.send("two") }), PLAIN);
    ports = [one, two].map(({ addr }) => (addr as Deno.NetAddr).port);
    assertEquals(one.url, `ws://127.0.0.1:${ports[0]}/`);
    assertEquals([one.mode.kind, one.material, one.requiredToken], ["proxied", undefined, undefined]);
    const first = await Client.open(one.url);
    const second = await Client.open(two.url);
    assertEquals([await first.ask("tom"), await second.ask("tom")], ["ok", "two"]);
    assertEquals([one.peers.size, two.peers.size], [1, 1]);
    await first.close();
    await second.close();
  }
  for (const port of ports) await assertRejects(() => Deno.connect({ port }), Deno.errors.ConnectionRefused);
});

Deno.test("serve: in direct mode the URL contains the certificate's name, and a 404 names the paths", async () => {
  await using served = await serving(ok, { path: ["/chat", "/wss"] });
  assertMatch(served.url, /^wss:\/\/localhost:\d+\/chat$/);
  assertEquals(served.service.material?.file, join(served.folder, "cert.pem"));
  await using client = await served.connect();
  assertEquals(await client.ask("tom"), "ok");
  const { status, body } = await rawResponse(served.raw, handshake());
  assertEquals([status, body], [
    404,
    "404 Not Found\nThis path is not served. WebSocket connections are accepted at /chat and /wss.\n",
  ]);
});

Deno.test("serve: listens on a Unix socket", async () => {
  const folder = await Deno.makeTempDir({ prefix: "wss-unix-" });
  try {
    const unix = join(folder, "wss.sock");
    await using service = await serve(ok, { mode: "proxied", unix, drainTimeout: 0 });
    assertEquals(service.url, `ws+unix:${unix}`);
    await using client = await Client.open("ws://localhost/wss", { unix });
    assertEquals(await client.ask("tom"), "ok");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("serve: reports all mistakes in the options in one UsageError", async () => {
  const wrong = { mode: "proxied", cert: "c.pem", maxPayload: "1MB", path: ["chat"], origin: ["https://*.a"], prot: 1 };
  const error: unknown = await serve(ok, wrong as unknown as ServiceOptions).catch((thrown) => thrown);
  assertInstanceOf(error, UsageError);
  const { problems } = error as UsageError;
  for (
    const expected of [
      /^maxPayload: a size is a whole number/,
      /^unknown option prot: did you mean port\?$/,
      /^path: a path starts with \/ .*not "chat"$/,
      /^mode proxied cannot be combined with cert: /,
      /^origin: "https:\/\/\*\.a": an origin is scheme, host and port/,
    ]
  ) assert(problems.some((problem) => expected.test(problem)), `${expected} among\n${problems.join("\n")}`);
  assertEquals(problems.length, 5);
});

Deno.test("serve: a port in use, a foreign host and unreadable files cause a StartError of one line", async () => {
  await using first = await serve(ok, PLAIN);
  const { port } = first.addr as Deno.NetAddr;
  for (
    const [options, message] of [
      [{ ...PLAIN, port }, new RegExp(`${port}`)],
      [{ ...PLAIN, host: "192.0.2.1" }, /192\.0\.2\.1/],
      [{ port: 0, cert: "/nowhere/c.pem", key: "/nowhere/k.pem" }, /\/nowhere\/c\.pem/],
      [{ ...PLAIN, authTokenFile: "/nowhere/tokens" }, /^Cannot read --auth-token-file \/nowhere\/tokens: /],
    ] as const
  ) {
    const error: unknown = await serve(ok, options).catch((thrown) => thrown);
    assertInstanceOf(error, StartError);
    assertMatch((error as StartError).message, message);
    assertEquals((error as StartError).message.includes("\n    at "), false);
  }
  // The first service is unaffected.
  await using client = await Client.open(first.url);
  assertEquals(await client.ask("tom"), "ok");
});

Deno.test("limits: 503 beyond maxConnections and maxConnectionsPerAddress, until a connection closes", async () => {
  const gone = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const ended = gone.values();
  const app = defineApp({ ...ok, close: () => ended.next().value?.resolve() });
  await using service = await serve(app, { ...PLAIN, maxConnections: 2, maxConnectionsPerAddress: 1 });
  const target = { port: (service.addr as Deno.NetAddr).port };
  const from = (address: string) => ({ headers: { "X-Real-IP": address } });
  const one = await Client.open(service.url, from("192.0.2.1"));
  const again = await rawResponse(target, handshake(from("192.0.2.1")));
  assertEquals([again.status, again.headers.get("retry-after")], [503, "10"]);
  assertMatch(again.body, /Connection limit of one client address reached \(1\)\./);
  const two = await Client.open(service.url, from("192.0.2.2"));
  const full = await rawResponse(target, handshake(from("192.0.2.3")));
  assertEquals([full.status, full.headers.get("retry-after")], [503, "10"]);
  assertMatch(full.body, /Connection limit reached \(2\)\./);
  // Refused connections occupy no slot.
  await one.close();
  await gone[0]!.promise;
  await using three = await Client.open(service.url, from("192.0.2.1"));
  assertEquals([await three.ask("tom"), await two.ask("tom")], ["ok", "ok"]);
  await two.close();
});

Deno.test("limits: closes with 1008 beyond twice the message rate in a burst; a client within the rate stays connected", async () => {
  await using service = await serve(ok, { ...PLAIN, messageRate: 10 });
  const eager = await Client.open(service.url);
  await using modest = await Client.open(service.url);
  // One message at a time: with several in flight, Deno ends the connection and the close frame is lost (measured).
  let answers = 0;
  try {
    while (await eager.ask("x") === "ok") answers++;
  } catch {
    // The connection has ended. The next assertion checks its close code.
  }
  assertEquals(await eager.closed, { code: 1008, reason: "message rate exceeds 10 per second" });
  assert(answers >= 20 && answers < 100, `${answers} answers`);
  for (let sent = 0; sent < 15; sent++) assertEquals(await modest.ask("x"), "ok");
});

Deno.test("stop: closes idle connections with 1001 and a reason, accepts no more, and returns the same promise each time", async () => {
  const closed: (number | undefined)[] = [];
  const service = await serve({ ...ok, close: (_peer, { code }) => void closed.push(code) }, PLAIN);
  const clients = await Promise.all([1, 2, 3].map(() => Client.open(service.url)));
  const stopped = service.stop();
  assertEquals(service.stop(), stopped);
  await stopped;
  for (const client of clients) {
    assertEquals(await client.closed, { code: 1001, reason: "the service is stopping" });
  }
  assertEquals([closed, service.peers.size], [[1001, 1001, 1001], 0]);
  await assertRejects(() => Client.open(service.url));
  await service.stop();
  await service[Symbol.asyncDispose]();
});

Deno.test("stop: lets connections finish within drainTimeout, and resolves when the last one has ended", async () => {
  await using service = await serve(ok, { ...PLAIN, drainTimeout: LONG });
  const client = await Client.open(service.url);
  let ended = false;
  const stopped = service.stop().then(() => ended = true);
  // The existing client is still served, while new clients are refused.
  for (let sent = 0; sent < 5; sent++) assertEquals(await client.ask("tom"), "ok");
  await assertRejects(() => Client.open(service.url));
  assertEquals([ended, await client.ask("tom")], [false, "ok"]);
  const begun = performance.now();
  await client.close();
  await stopped;
  assert(performance.now() - begun < LONG / 2, "stop waited for the timeout although no client was left");
});

Deno.test("stop: closes the remaining clients with 1001 after drainTimeout, and drops those that do not answer", async () => {
  const service = await serve(ok, { ...PLAIN, drainTimeout: "300ms" });
  const client = await Client.open(service.url);
  // This client does not answer the close frame.
  const mute = await Deno.connect({ port: (service.addr as Deno.NetAddr).port });
  await mute.write(new TextEncoder().encode(handshake()));
  await mute.read(new Uint8Array(1024));
  const heard = readToEnd(mute);
  const begun = performance.now();
  await service.stop();
  const took = performance.now() - begun;
  assert(took >= 290, `stopped after ${took} ms`);
  assert(took < LONG, `stopped after ${took} ms`);
  assertEquals(await client.closed, { code: 1001, reason: "the service is stopping" });
  // The client receives a close frame with code 1001 before the connection is dropped.
  const bytes = await heard;
  assertEquals([bytes[0], bytes[2]! * 256 + bytes[3]!], [0x88, 1001]);
});

/** Reads all bytes until the connection ends or is reset. */
async function readToEnd(conn: Deno.Conn): Promise<number[]> {
  const bytes: number[] = [];
  const buffer = new Uint8Array(1024);
  try {
    for (let read; (read = await conn.read(buffer)) !== null;) bytes.push(...buffer.subarray(0, read));
  } catch (error) {
    if (!(error instanceof Deno.errors.ConnectionReset)) throw error;
  }
  conn.close();
  return bytes;
}

Deno.test("a refusal is logged with the client's address, and a flood of refusals is throttled", async () => {
  await using served = await serving(ok, { mode: "proxied" });
  for (let time = 0; time < 30; time++) {
    await rawResponse(served.raw, handshake({ target: "/else", headers: { "X-Real-IP": "192.0.2.1" } }));
  }
  const lines = served.logged("refused");
  assertEquals([lines[0]?.status, lines[0]?.address, lines[0]?.level], [404, "192.0.2.1", "info"]);
  assert(lines.length < 10, `${lines.length} lines`);
});
