// The chat app as three processes.
import { assertEquals, assertMatch } from "@std/assert";
import { peerTest } from "../peers/require.ts";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import { natsServer } from "./engines.ts";

/** Somebody on a node, under a name, after everything that the service says of itself. */
async function enter(program: Program, name: string): Promise<Client> {
  const client = await Client.open(program.url);
  assertMatch(await client.next() as string, /^welcome, guest-[0-9a-f]{4}: \/name NAME/);
  client.send(`/name ${name}`);
  await client.until(new RegExp(`^\\* guest-[0-9a-f]{4} is now ${name}$`));
  return client;
}

/** Asks until the answer is as expected: subscriptions on other nodes are told to nobody. */
async function who(client: Client, expected: string): Promise<void> {
  for (let asked = 0; asked < 200; asked++) {
    client.send("/who");
    if (await client.until(/^in /) === expected) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`it is not: ${expected}`);
}

peerTest("nats-server", "chat over three nodes: rooms, names and /who cover all nodes", async () => {
  await using server = await natsServer();
  const start = () =>
    startProgram(["--mode", "proxied", "--app", "chat", "--log-format", "json", "--broker", server.url]);
  await using one = await start();
  await using two = await start();
  await using three = await start();
  await using anna = await enter(one, "Anna");
  await using ben = await enter(two, "Ben");
  await using cleo = await enter(three, "Cleo");
  for (const client of [anna, ben, cleo]) await who(client, "in lobby: Anna, Ben, Cleo");
  anna.send("hello");
  assertEquals([await ben.until(/hello/), await cleo.until(/hello/)], ["Anna: hello", "Anna: hello"]);
  cleo.send("/to Anna in private");
  assertEquals(await anna.until(/private/), "Cleo to Anna: in private");
  assertEquals(await cleo.until(/private/), "Cleo to Anna: in private");
  cleo.send("/to Nobody hello");
  assertEquals(await cleo.until(/Nobody/), "nobody is called Nobody");
  ben.send("/join garden");
  await who(ben, "in garden: Ben");
  await who(cleo, "in lobby: Anna, Cleo");
  // The whole node of Cleo dies: she is not said to have left, and is not there any more.
  three.signal("SIGKILL");
  await three.exited;
  await who(anna, "in lobby: Anna");
  ben.send("/join lobby");
  await who(anna, "in lobby: Anna, Ben");
});
