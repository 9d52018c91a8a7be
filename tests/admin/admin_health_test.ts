/** `/healthz` while the service drains and while its broker is unreachable, with one process and with workers. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { natsServer } from "../hub/engines.ts";
import { peerTest } from "../peers/require.ts";
import { freePort } from "../support/ports.ts";
import { until } from "../support/until.ts";
import { clientOfEach, startWorkers } from "../workers/workers.ts";
import { adminUrl, call, servingAdmin, value } from "./admin.ts";

interface Health {
  readonly status: number;
  readonly body: { readonly status: string; readonly broker?: string };
}

async function health(admin: string, query = ""): Promise<Health> {
  const answer = await fetch(`${admin}/healthz${query}`);
  assertEquals(answer.headers.get("cache-control"), "no-store");
  return { status: answer.status, body: await answer.json() };
}

/** Waits until `/healthz` reports the given state of the broker. */
async function untilBroker(admin: string, state: "up" | "down"): Promise<void> {
  await until(async () => (await health(admin)).body.broker === state);
}

const OK = { status: 200, body: { status: "ok" } };
const DRAINING = { status: 503, body: { status: "draining" } };

/** Asserts the responses while the broker is unreachable: only `?broker` reports that the node is not ready. */
async function brokerIsDown(admin: string): Promise<void> {
  await untilBroker(admin, "down");
  assertEquals(await health(admin), { status: 200, body: { status: "ok", broker: "down" } });
  assertEquals(await health(admin, "?broker"), { status: 503, body: { status: "broker down", broker: "down" } });
  const head = await fetch(`${admin}/healthz?broker`, { method: "HEAD" });
  assertEquals([head.status, await head.text()], [503, ""]);
  assertEquals(await value(admin, "wss_broker_up"), 0);
}

async function brokerIsUp(admin: string): Promise<void> {
  await untilBroker(admin, "up");
  for (const query of ["", "?broker"]) {
    assertEquals(await health(admin, query), { status: 200, body: { status: "ok", broker: "up" } });
  }
  assertEquals(await value(admin, "wss_broker_up"), 1);
}

Deno.test("health: 503 while the service drains, and the admin listener answers until the end", async () => {
  await using served = await servingAdmin({ drainTimeout: "1h" });
  const { service } = served;
  const admin = adminUrl(service);
  await using tom = await served.connect({ path: "/?user=tom" });
  await using ann = await served.connect({ path: "/?user=ann" });
  assertEquals(await tom.ask("news"), "joined");
  assertEquals(await health(admin), OK);
  const stopped = service.stop();
  assertEquals(await health(admin), DRAINING);
  assertEquals(await health(admin, "?broker"), DRAINING);
  const head = await fetch(`${admin}/healthz`, { method: "HEAD" });
  assertEquals([head.status, await head.text()], [503, ""]);
  // Calls and scrapes still reach and count the remaining clients.
  assertEquals((await call(service, "publish", { topic: "news", data: "soon" })).body, { result: {} });
  assertEquals(await tom.next(), "soon");
  assertEquals(await value(admin, "wss_connections"), 2);
  for (const [user, client] of [["ann", ann], ["tom", tom]] as const) {
    assertEquals((await call(service, "disconnect", { user, code: 4001 })).status, 200);
    assertEquals((await client.closed).code, 4001);
  }
  await stopped;
  const port = Number(new URL(admin).port);
  const refused = await Deno.connect({ hostname: "127.0.0.1", port }).then((connection) => connection.close(), String);
  assertMatch(`${refused}`, /ConnectionRefused/);
});

Deno.test("health: 503 while the workers drain", { ignore: Deno.build.os !== "linux" }, async () => {
  await using program = await startWorkers(2, ["--admin", "127.0.0.1:0", "--drain-timeout", "1h"]);
  const [, admin] = await program.stderr.until(/"admin":"([^"]+)"/);
  await using clients = await clientOfEach(2, program.url, { ca: program.ca });
  const { status } = await health(admin!);
  assertEquals(status, 200);
  program.signal("SIGTERM");
  await program.stderr.until(/SIGTERM: stopping/);
  // The requests go to the workers in turn, and a worker may not have received the signal yet.
  const deadline = performance.now() + 20_000;
  for (let drains = 0; drains < 4;) {
    const said = await health(admin!);
    drains = said.body.status === "draining" ? drains + 1 : 0;
    assertEquals(said.status, said.body.status === "draining" ? 503 : 200);
    assert(performance.now() < deadline, "a worker does not report that it drains");
  }
  for (const client of clients.values()) await client.close();
  assertEquals(await program.exited, 0);
});

peerTest("nats-server", "health: an unreachable broker is a 503 only with ?broker", async () => {
  await using server = await natsServer();
  await using served = await servingAdmin({ broker: server.url, drainTimeout: "1h" });
  const { service } = served;
  const admin = adminUrl(service);
  await using client = await served.connect();
  assertEquals(await client.ask("news"), "joined");
  await brokerIsUp(admin);
  await server.kill();
  await brokerIsDown(admin);
  // The API reaches the clients of this node.
  assertEquals((await call(service, "publish", { topic: "news", data: "here" })).body, { result: {} });
  assertEquals(await client.next(), "here");
  await server.restart();
  await brokerIsUp(admin);
  await server.kill();
  await brokerIsDown(admin);
  const stopped = service.stop();
  const draining = { status: 503, body: { status: "draining", broker: "down" } };
  for (const query of ["", "?broker"]) assertEquals(await health(admin, query), draining);
  await client.close();
  await stopped;
});

peerTest("nats-server", "health: with --broker-optional, not ready until the broker is reachable", async () => {
  const port = freePort();
  await using served = await servingAdmin({ broker: `nats://127.0.0.1:${port}`, brokerOptional: true });
  const admin = adminUrl(served.service);
  await brokerIsDown(admin);
  await using _server = await natsServer({ port });
  await brokerIsUp(admin);
});

peerTest("nats-server", "health: workers while the broker is unreachable", async () => {
  await using server = await natsServer();
  await using program = await startWorkers(2, ["--admin", "127.0.0.1:0", "--broker", server.url]);
  const [, admin] = await program.stderr.until(/"admin":"([^"]+)"/);
  await brokerIsUp(admin!);
  await server.kill();
  const deadline = performance.now() + 60_000;
  // The requests go to the workers in turn, and each worker detects the failure itself.
  for (let down = 0; down < 4;) {
    down = (await health(admin!)).body.broker === "down" ? down + 1 : 0;
    assert(performance.now() < deadline, "the broker is not reported as down");
  }
  await brokerIsDown(admin!);
  await server.restart();
  for (let up = 0; up < 4;) {
    up = (await health(admin!, "?broker")).status === 200 ? up + 1 : 0;
    assert(performance.now() < deadline, "the broker is not reported as up");
  }
});
