/** Revoked tokens: their connections are closed. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import type { ServiceOptions } from "../../lib/config/service_options_type.ts";
import { StartError } from "../../lib/errors.ts";
import { call, KEY, OTHER_KEY, value } from "../admin/admin.ts";
import { type Served, serving } from "../support/serving.ts";
import { until } from "../support/until.ts";

const FIRST = "first-shared-secret-0123456789";
const SECOND = "second-shared-secret-0123456789";
const BOTH = `${FIRST}\n${SECOND}\n`;

const app = {
  message: (peer: { send(data: string): unknown }, message: { text(): string }) => void peer.send(message.text()),
};

function served(options: Pick<ServiceOptions, "admin" | "drainTimeout" | "revokedTokens"> = {}): Promise<Served> {
  return serving(app, async (folder) => {
    const authTokenFile = join(folder, "tokens");
    await Deno.writeTextFile(authTokenFile, BOTH);
    return { authTokenFile, ...options };
  });
}

const connect = (service: Served, token: string) => service.connect({ headers: { authorization: `Bearer ${token}` } });

Deno.test("removing a token from its file closes its connections with 3000, and no others", async () => {
  await using service = await served();
  await using second = await connect(service, SECOND);
  const first = await connect(service, FIRST);
  await Deno.writeTextFile(join(service.folder, "tokens"), `${SECOND}\n`);
  // No reload was requested: the file is watched.
  assertEquals(await first.closed, { code: 3000, reason: "the token was revoked" });
  assertEquals(await second.ask("still here"), "still here");
  assertEquals(service.logged("whose tokens were revoked")[0]?.peers, 1);
});

Deno.test("emptying or deleting the token file closes all connections", async () => {
  for (const leave of [(file: string) => Deno.writeTextFile(file, ""), (file: string) => Deno.remove(file)]) {
    await using service = await served();
    const clients = [await connect(service, FIRST), await connect(service, SECOND)];
    await leave(join(service.folder, "tokens"));
    for (const client of clients) assertEquals((await client.closed).code, 3000);
    assert(service.logged("no token is valid any more").length > 0);
  }
});

Deno.test("a service that drains its connections closes those of a removed token", async () => {
  for (const requested of [false, true]) {
    await using service = await served({ drainTimeout: "1m" });
    await using second = await connect(service, SECOND);
    const first = await connect(service, FIRST);
    const stopped = service.service.stop();
    await Deno.writeTextFile(join(service.folder, "tokens"), `${SECOND}\n`);
    if (requested) await service.service.reload();
    assertEquals((await first.closed).code, 3000);
    assertEquals(await second.ask("still here"), "still here");
    await second.close();
    await stopped;
  }
});

Deno.test("an incompletely written token file closes no connection", async () => {
  await using service = await served();
  await using client = await connect(service, SECOND);
  const file = join(service.folder, "tokens");
  // Only the beginning of the new content: the second secret is incomplete.
  await Deno.writeTextFile(file, BOTH.slice(0, 45));
  await until(() => service.logged("tokens are missing from the token file").length > 0);
  await Deno.writeTextFile(file, BOTH + "third-shared-secret-0123456789\n");
  await until(() => service.logged("was read again").length > 0);
  await using third = await connect(service, "third-shared-secret-0123456789");
  assertEquals(await third.ask("in"), "in");
  assertEquals(await client.ask("still here"), "still here");
});

Deno.test("an unusable token file is logged and counted as a failed reload, and the previous tokens stay valid", async () => {
  await using service = await served({ admin: "127.0.0.1:0" });
  const file = join(service.folder, "tokens");
  const reloads = async () => {
    const count = (result: string) => value(service.service.admin!.url, `wss_reloads_total{result="${result}"}`);
    return { success: await count("success"), failure: await count("failure") };
  };
  await Deno.writeTextFile(file, "not a token: spaces\n");
  await until(() => service.logged("the reload failed").length > 0);
  assertEquals(await reloads(), { success: 0, failure: 1 });
  await using client = await connect(service, FIRST);
  assertEquals(await client.ask("in"), "in");
  await Deno.writeTextFile(file, BOTH + "third-shared-secret-0123456789\n");
  await until(() => service.logged("was read again").length > 0);
  assertEquals(await reloads(), { success: 1, failure: 1 });
});

Deno.test("a requested reload revokes tokens at once; with revokedTokens keep, connections stay open", async () => {
  for (const revokedTokens of [undefined, "keep"] as const) {
    await using service = await served(revokedTokens === undefined ? {} : { revokedTokens });
    const client = await connect(service, FIRST);
    await Deno.writeTextFile(join(service.folder, "tokens"), `${SECOND}\n`);
    await service.service.reload();
    if (revokedTokens === undefined) assertEquals((await client.closed).code, 3000);
    else {
      assertEquals(await client.ask("still here"), "still here");
      await client.close();
    }
  }
});

Deno.test("a requested reload applies tokens and admin keys independently, and its error names all unusable files", async () => {
  await using service = await serving(app, async (folder) => {
    await Deno.writeTextFile(join(folder, "tokens"), BOTH);
    await Deno.writeTextFile(join(folder, "keys"), KEY);
    return { authTokenFile: join(folder, "tokens"), admin: "127.0.0.1:0", adminKeyFile: join(folder, "keys") };
  });
  const reload = async (tokens: string, keys: string) => {
    await Deno.writeTextFile(join(service.folder, "tokens"), tokens);
    await Deno.writeTextFile(join(service.folder, "keys"), keys);
    const { message } = await assertRejects(() => service.service.reload(), StartError);
    return [/tokens line 1/.test(message), /keys line 1/.test(message)];
  };
  const status = async (key: string) => {
    return (await call(service.service, "nodes", {}, { authorization: `Bearer ${key}` })).status;
  };
  const first = await connect(service, FIRST);
  assertEquals(await reload(SECOND, "not a key"), [false, true]);
  // Without the reload the token would be revoked some seconds later.
  await assertRejects(() => connect(service, FIRST));
  assertEquals((await first.closed).code, 3000);
  assertEquals(await status(KEY), 200);

  assertEquals(await reload("not a token", "not a key"), [true, true]);
  await using second = await connect(service, SECOND);
  assertEquals([await second.ask("in"), await status(KEY)], ["in", 200]);

  assertEquals(await reload("not a token", OTHER_KEY), [true, false]);
  assertEquals([await second.ask("in"), await status(KEY), await status(OTHER_KEY)], ["in", 401, 200]);
});
