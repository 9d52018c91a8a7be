/** The admin listener of several workers: it survives the exit of a worker, and its results cover all workers. Linux only. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { adminOf, KEY, value } from "../admin/admin.ts";
import type { Client } from "../support/client.ts";
import { clientOfEach, joinRoom, startWorkers } from "./workers.ts";

const ignore = Deno.build.os !== "linux";

// deno-lint-ignore no-explicit-any -- each test expects a different JSON reply
async function call(admin: string, method: string, parameters: object = {}): Promise<any> {
  const headers = { authorization: `Bearer ${KEY}` };
  const response = await fetch(`${admin}/api/${method}`, { method: "POST", body: JSON.stringify(parameters), headers });
  return await response.json();
}

Deno.test(
  "API calls reach the clients of all workers, and metrics are sums, even after a worker dies",
  { ignore },
  async () => {
    const files = { "keys": KEY };
    await using program = await startWorkers(2, ["--admin", "127.0.0.1:0", "--admin-key-file", "keys"], { files });
    const admin = await adminOf(program);
    await using clients = await clientOfEach(2, program.url, { ca: program.ca });
    await joinRoom("news", ...[...clients.values()] as [Client, Client]);
    assertEquals(await call(admin, "publish", { topic: "news", data: "hello" }), { result: {} });
    for (const client of clients.values()) assertEquals(await client.next(), "hello");
    // Directly after the start, a worker does not know the other workers yet.
    let result;
    const until = Date.now() + 20_000;
    do result = (await call(admin, "presence", { topic: "news" })).result; while (
      !result.complete && Date.now() < until
    );
    assertEquals([result.peers.length, result.complete, result.nodes], [2, true, { asked: 2, answered: 2 }]);
    assertEquals((await call(admin, "nodes")).result.nodes.length, 2);
    assertEquals(await value(admin, "wss_connections"), 2);
    assertEquals(await value(admin, "wss_nodes"), 2);
    for (const worker of ["1", "2", "supervisor"]) {
      assert(await value(admin, `process_resident_memory_bytes{worker="${worker}"}`) > 1024 ** 2);
    }
    const health = await fetch(`${admin}/healthz?broker`);
    assertEquals([health.status, await health.json()], [200, { status: "ok", broker: "up" }]);

    const received = 'wss_messages_total{direction="received"}';
    const before = await value(admin, received);
    assert(before >= 4, `${before}`);
    const [[pid]] = [...clients] as [[number, unknown]];
    Deno.kill(pid, "SIGKILL");
    await program.stderr.until(/"message":"worker \d is serving again"/);
    assert(await value(admin, received) >= before, "a counter fell");
    assertEquals((await call(admin, "publish", { topic: "news", data: "again" })).result, {});
    const [, other] = [...clients.values()];
    assertEquals(await other!.next(), "again");

    program.signal("SIGUSR2");
    await program.stderr.until(/the workers have been replaced/);
    assert(await value(admin, received) >= before, "a counter fell");
    assertEquals((await call(admin, "nodes")).error, undefined);

    await Deno.writeTextFile(join(program.folder, "keys"), "0".repeat(64));
    program.signal("SIGHUP");
    for (const until = Date.now() + 10_000; (await call(admin, "nodes")).error?.code !== 101;) {
      assert(
        Date.now() < until,
      );
    }
  },
);

Deno.test("--admin-tls serves the certificate of the workers", { ignore }, async () => {
  await using program = await startWorkers(1, ["--admin", "127.0.0.1:0", "--admin-tls"]);
  const admin = await adminOf(program);
  using client = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(program.ca)] });
  const response = await fetch(`${admin}/healthz`, { client });
  assertEquals([response.status, await response.json()], [200, { status: "ok" }]);
});
