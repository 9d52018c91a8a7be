/** Backends publish through the admin listener: the README's snippets for curl and PHP, and Python's urllib. */
import { assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { adminUrl, KEY, servingAdmin } from "../admin/admin.ts";
import { ROOT } from "../support/program.ts";
import type { Served } from "../support/serving.ts";
import { peerTest } from "./require.ts";

/** Returns the README's snippet that contains a text, with the address of this service. */
async function snippet(served: Served, language: string, text: string): Promise<string> {
  const readme = await Deno.readTextFile(join(ROOT, "README.md"));
  const blocks = [...readme.matchAll(new RegExp("```" + language + "\n([^]*?)```", "g"))].map(([, block]) => block!);
  const block = blocks.find((each) => each.includes(text));
  if (block === undefined) throw new Error(`the README has no ${language} snippet with ${text}`);
  await Deno.writeTextFile(join(served.folder, "key"), `${KEY}\n`);
  return block.replaceAll("http://127.0.0.1:9100", adminUrl(served.service));
}

async function run(served: Served, command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, cwd: served.folder }).output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  return new TextDecoder().decode(stdout);
}

peerTest("curl", "the README's curl snippet publishes", async () => {
  await using served = await servingAdmin();
  await using client = await served.connect();
  assertEquals(await client.ask("news"), "joined");
  assertEquals(await run(served, "sh", "-c", await snippet(served, "sh", "curl")), '{"result":{}}');
  assertEquals(await client.next(), "hello");
});

peerTest("php-curl", "the README's PHP snippet publishes and queries", async () => {
  await using served = await servingAdmin();
  await using client = await served.connect({ path: "/?user=tom" });
  assertEquals(await client.ask("news"), "joined");
  await Deno.writeTextFile(join(served.folder, "push.php"), await snippet(served, "php", "curl_init"));
  const printed = await run(served, "php", "push.php");
  assertEquals(await client.next(), '{"title":"hello"}');
  assertMatch(printed, /\[user\] => tom/);
});

peerTest("python3", "Python's urllib publishes, and reads an error", async () => {
  await using served = await servingAdmin();
  await using client = await served.connect();
  assertEquals(await client.ask("news"), "joined");
  const program = `
import json, sys, urllib.error, urllib.request
def call(method, **parameters):
    request = urllib.request.Request(f"${adminUrl(served.service)}/api/{method}", json.dumps(parameters).encode(),
                                     {"Authorization": "Bearer ${KEY}"})
    try:
        return json.load(urllib.request.urlopen(request, timeout=10))
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)["error"]["code"]]
print(call("publish", topic="news", data="hello"), call("publish", topic="news"), call("nope"))
`;
  assertEquals(await run(served, "/usr/bin/python3", "-c", program), "{'result': {}} [400, 107] [404, 104]\n");
  assertEquals(await client.next(), "hello");
});
