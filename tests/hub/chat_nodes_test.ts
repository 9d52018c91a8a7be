// The chat app on three nodes, each a process.
import { assertEquals, assertMatch } from "@std/assert";
import { peerTest } from "../peers/require.ts";
import { Client } from "../support/client.ts";
import { type Program, startProgram } from "../support/program.ts";
import { natsServer } from "./engines.ts";

/** Connects a client to a node and gives it a name. Reads the greeting and the notice of the new name. */
async function enter(program: Program, name: string): Promise<Client> {
  const client = await Client.open(program.url);
  assertMatch(await client.next() as string, /^welcome, guest-[0-9a-f]{4}: \/name NAME/);
  client.send(`/name ${name}`);
  await client.until(new RegExp(`^\\* guest-[0-9a-f]{4} is now ${name}$`));
  return client;
}

/** Asks until the answer is as expected. Polls, because no event reports subscriptions on other nodes. */
async function who(client: Client, expected: string): Promise<void> {
  for (let asked = 0; asked < 200; asked++) {
    client.send("/who");
    if (await client.until(/^in /) === expected) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`/who never answered: ${expected}`);
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
  // The app gives the other nodes a second to answer who Anna is.
  let sent: string;
  do {
    cleo.send("/to Anna in private");
    sent = await cleo.until(/private|nobody is called/);
  } while (/nobody/.test(sent));
  assertEquals([sent, await anna.until(/private/)], ["Cleo to Anna: in private", "Cleo to Anna: in private"]);
  cleo.send("/to Nobody hello");
  assertEquals(await cleo.until(/Nobody/), "nobody is called Nobody");
  ben.send("/join garden");
  await who(ben, "in garden: Ben");
  await who(cleo, "in lobby: Anna, Cleo");
  // Cleo's node is killed. The chat does not announce that she left, but /who no longer lists her.
  three.signal("SIGKILL");
  await three.exited;
  await who(anna, "in lobby: Anna");
  ben.send("/join lobby");
  await who(anna, "in lobby: Anna, Ben");
});
