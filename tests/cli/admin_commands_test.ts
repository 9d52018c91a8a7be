/** The commands that call the admin listener. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { adminUrl, servingAdmin } from "../admin/admin.ts";
import { makeFolder, runProgram } from "../support/program.ts";

Deno.test("publish, nodes, topics, presence and disconnect call the running service", async () => {
  await using served = await servingAdmin();
  const { service, folder } = served;
  await using client = await served.connect({ path: "/?user=tom" });
  assertEquals(await client.ask("news"), "joined");
  const where = { WSS_ADMIN: new URL(adminUrl(service)).host, WSS_ADMIN_KEY_FILE: join(folder, "keys") };
  const run = (...args: string[]) => runProgram(args, { env: where });
  assertEquals(await run("publish", "news", "hello"), { code: 0, stdout: "published\n", stderr: "" });
  assertEquals(await client.next(), "hello");
  for (const text of ["-5", ""]) {
    assertEquals(await run("publish", "news", "--", text), { code: 0, stdout: "published\n", stderr: "" });
    assertEquals(await client.next(), text);
  }
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
  const negative = await runProgram(["publish", "news", "-5", "--admin", admin]);
  assertMatch(negative.stderr, /unknown option -5; write -- before an argument that begins with -/);
  const refused = await runProgram(["nodes", "--admin", admin]);
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(refused.stderr, /^wss: The service at .* refused: one of the keys/);
  const target = await runProgram(["disconnect", "--admin", admin]);
  assertEquals(target.code, 2);
  const nobody = await runProgram(["nodes", "--admin", "unix:/nowhere/admin.sock"]);
  assertEquals(nobody.code, 1);
  assertMatch(nobody.stderr, /^wss: Cannot reach the service at \/nowhere\/admin.sock: /);
});

Deno.test("on a unix socket that wss.json names: no key is needed, and publish - sends standard input", async () => {
  const folder = await makeFolder({ "wss.json": '{"admin":"unix:admin.sock","maxPayload":"1MiB"}' });
  try {
    const admin = `unix:${join(folder, "admin.sock")}`;
    await using served = await servingAdmin({ admin, adminKeyFile: undefined });
    await using client = await served.connect();
    assertEquals(await client.ask("news"), "joined");
    const wrapper = ["/bin/sh", "-c", `printf 'a text\\nof two lines' | "$@"`, "sh"];
    const published = await runProgram(["publish", "news", "-"], { folder, wrapper });
    assertEquals(published, { code: 0, stdout: "published\n", stderr: "" });
    assertEquals(await client.next(), "a text\nof two lines");
    const { peers } = JSON.parse((await runProgram(["presence", "news", "--json"], { folder })).stdout);
    const topics = { topics: [{ topic: "news", subscribers: 1 }], complete: true, nodes: { asked: 1, answered: 1 } };
    assertEquals(JSON.parse((await runProgram(["topics", "--json"], { folder })).stdout), topics);
    for (const [more, text] of [["--except=nobody", "one"], [`--except=${peers[0].id}`, "none"]] as const) {
      assertEquals((await runProgram(["publish", "news", text, more], { folder })).code, 0);
    }
    assertEquals((await runProgram(["disconnect", "--peer", peers[0].id], { folder })).code, 0);
    assertEquals(await client.next(), "one");
    assertEquals((await client.closed).code, 1000);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("over TLS: the certificate is verified with the authority in --ca", async () => {
  await using served = await servingAdmin({ adminTls: true });
  const admin = new URL(adminUrl(served.service)).host;
  const args = ["nodes", "--json", "--admin", admin, "--admin-key-file", join(served.folder, "keys")];
  const { code, stdout } = await runProgram([...args, "--admin-tls", "--ca", served.ca]);
  const { nodes } = JSON.parse(stdout);
  assertEquals([code, nodes.length, nodes[0].id], [0, 1, served.service.nodeId]);
  const untrusted = await runProgram([...args, "--admin-tls"]);
  assertEquals([untrusted.code, untrusted.stdout], [1, ""]);
  assertMatch(untrusted.stderr, /^wss: Cannot reach the service at .*certificate/i);
  const plain = await runProgram(args);
  assertEquals([plain.code, plain.stdout], [1, ""]);
  assertMatch(plain.stderr, /^wss: Cannot reach the service at /);
});

Deno.test("publish without --namespace reaches the peers of every namespace, as its help says", async () => {
  await using served = await servingAdmin({ path: ["/a", "/b"] });
  await using a = await served.connect({ path: "/a" });
  await using b = await served.connect({ path: "/b" });
  for (const client of [a, b]) assertEquals(await client.ask("news"), "joined");
  const admin = new URL(adminUrl(served.service)).host;
  const where = ["--admin", admin, "--admin-key-file", join(served.folder, "keys")];
  for (const [text, ...options] of [["all"], ["one", "--namespace", "/a"], ["end"]] as const) {
    assertEquals((await runProgram(["publish", "news", text, ...where, ...options])).code, 0);
  }
  assertEquals([await a.next(), await a.next(), await a.next()], ["all", "one", "end"]);
  assertEquals([await b.next(), await b.next()], ["all", "end"]);
  assertMatch(
    (await runProgram(["publish", "--help"])).stdout,
    /--namespace NAME\n +Only this namespace\. \(default: all namespaces\)/,
  );
});
