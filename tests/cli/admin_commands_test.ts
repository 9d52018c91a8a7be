/** The commands that call the admin listener, and the dashboard. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { METRICS } from "../../lib/metrics.ts";
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

Deno.test("the dashboard is valid and uses only existing metrics", async () => {
  const { code, stdout } = await runProgram(["dashboard"]);
  assertEquals(code, 0);
  const { panels, templating } = JSON.parse(stdout);
  const known = new Set(Object.keys(METRICS));
  const named = new Set<string>();
  const expressions: string[] = panels.flatMap(({ targets }: { targets: { expr: string }[] }) =>
    targets.map(({ expr }) => expr)
  );
  for (const expression of [...expressions, JSON.stringify(templating)]) {
    for (const [word] of expression.matchAll(/\b(?:wss|process)_\w+/g)) named.add(word.replace(/_bucket$/, ""));
  }
  assertEquals([...named].filter((name) => !known.has(name)), []);
  assert(named.size >= 20, `${named.size}`);
  assertEquals(new Set(panels.map(({ id }: { id: number }) => id)).size, panels.length);
  // Balanced, and no placeholder left.
  for (const expression of expressions) {
    assertMatch(expression, /\{job=~"\$job", instance=~"\$instance"\}/);
    assertEquals(expression.split("(").length, expression.split(")").length, expression);
  }
});
