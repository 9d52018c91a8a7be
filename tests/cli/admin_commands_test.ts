/** The commands that call the admin listener. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { adminUrl, servingAdmin } from "../admin/admin.ts";
import { runProgram } from "../support/program.ts";

Deno.test("publish, nodes, topics, presence and disconnect call the running service", async () => {
  await using served = await servingAdmin();
  const { service, folder } = served;
  await using client = await served.connect({ path: "/?user=tom" });
  assertEquals(await client.ask("news"), "joined");
  const where = { WSS_ADMIN: new URL(adminUrl(service)).host, WSS_ADMIN_KEY_FILE: join(folder, "keys") };
  const run = (...args: string[]) => runProgram(args, { env: where });
  assertEquals(await run("publish", "news", "hello"), { code: 0, stdout: "published\n", stderr: "" });
  assertEquals(await client.next(), "hello");
  const nodes = await run("nodes");
  assertMatch(nodes.stdout, new RegExp(`^NODE .*\n${service.nodeId} .* 1 +\\d{4}-`));
  const topics = await run("topics", "n");
  assertEquals(topics.stdout, "TOPIC  SUBSCRIBERS\nnews   1\n");
  const presence = JSON.parse((await run("presence", "news", "--json")).stdout);
  assertEquals([presence.users, presence.complete], [["tom"], true]);
  const disconnected = await run("disconnect", "--user", "tom", "--code", "4001", "--reason", "bye");
  assertEquals([disconnected.code, disconnected.stderr], [0, ""]);
  const { code, reason } = await client.closed;
  assertEquals([code, reason], [4001, "bye"]);
});

Deno.test("the admin commands report wrong arguments, a missing key and an unreachable service", async () => {
  await using served = await servingAdmin();
  const admin = new URL(adminUrl(served.service)).host;
  const none = await runProgram(["publish", "news"]);
  assertEquals(none.code, 2);
  assertMatch(none.stderr, /publish takes TOPIC DATA, but got 1/);
  assertMatch(none.stderr, /--admin HOST:PORT or --admin unix:PATH is required/);
  const refused = await runProgram(["nodes", "--admin", admin]);
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(refused.stderr, /^wss: The service at .* refuses: one of the keys/);
  const target = await runProgram(["disconnect", "--admin", admin]);
  assertEquals(target.code, 2);
  const nobody = await runProgram(["nodes", "--admin", "unix:/nowhere/admin.sock"]);
  assertEquals(nobody.code, 1);
  assertMatch(nobody.stderr, /^wss: Cannot ask the service at \/nowhere\/admin.sock: /);
});
