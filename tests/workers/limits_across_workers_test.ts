/** Connection limits apply to all workers together. Linux only. */
import { assert, assertEquals } from "@std/assert";
import { delay } from "@std/async/delay";
import { Client } from "../support/client.ts";
import { startWorkers } from "./workers.ts";

const ignore = Deno.build.os !== "linux";

/** Opens connections, and after each waits until the workers have exchanged counts. Returns the accepted ones. */
async function admitted(attempts: number, open: () => Promise<Client>): Promise<Client[]> {
  const clients: Client[] = [];
  for (let i = 0; i < attempts; i++) {
    const client = await open().catch(() => undefined);
    if (client !== undefined) clients.push(client);
    // The exchange of counts takes about ten milliseconds. No event that a test can see reports its end.
    await delay(500);
  }
  return clients;
}

Deno.test("--max-connections applies to all workers, and a closed connection frees its slot", { ignore }, async () => {
  await using program = await startWorkers(3, ["--max-connections", "6", "--drain-timeout", "0s"]);
  const open = () => Client.open(program.url, { ca: program.ca });
  const clients = await admitted(14, open);
  assertEquals(clients.length, 6);
  using client = Deno.createHttpClient({ caCerts: [Deno.readTextFileSync(program.ca)] });
  const health = await fetch(program.http("/healthz"), { client });
  assertEquals((await health.json()).peers, 6);
  for (const client of clients.splice(0, 3)) await client.close();
  await delay(1_000);
  clients.push(...await admitted(8, open));
  assertEquals(clients.length, 6);
  for (const client of clients) await client.close();
});

Deno.test("--max-connections-per-address applies to all workers", { ignore }, async () => {
  await using program = await startWorkers(3, [
    ...["--mode", "proxied", "--max-connections-per-address", "4", "--drain-timeout", "0s"],
  ]);
  const from = (address: string) => () => Client.open(program.url, { headers: { "x-real-ip": address } });
  const one = await admitted(10, from("192.0.2.1"));
  assertEquals(one.length, 4);
  const other = await admitted(3, from("192.0.2.2"));
  assertEquals(other.length, 3);
  for (const client of [...one, ...other]) await client.close();
});

Deno.test("--max-connections-per-user applies to all workers", { ignore }, async () => {
  await using program = await startWorkers(3, ["--app", "./users.ts", "--max-connections-per-user", "2"], {
    files: {
      "users.ts": `import { defineApp } from "@wss/wss";
        export default defineApp({
          upgrade: (request) => ({ user: new URL(request.url).searchParams.get("user") }),
          message: (peer, message) => void peer.send(message.text()),
        });`,
    },
  });
  const open = async (user: string) => {
    const client = await Client.open(`${program.url}?user=${user}`, { ca: program.ca });
    client.send("hello");
    // A connection above the limit may be refused by a close frame.
    await client.next();
    return client;
  };
  const anna = await admitted(8, () => open("anna"));
  assertEquals(anna.length, 2);
  const ben = await admitted(1, () => open("ben"));
  assert(ben.length === 1);
  for (const client of [...anna, ...ben]) await client.close();
});

Deno.test("the connections of a dead worker no longer count", { ignore }, async () => {
  await using program = await startWorkers(2, ["--max-connections", "4", "--drain-timeout", "0s"]);
  const open = () => Client.open(program.url, { ca: program.ca });
  const clients = await admitted(6, open);
  assertEquals(clients.length, 4);
  const pid = Number(await clients[0]!.ask("pid"));
  const pids = await Promise.all(clients.map((client) => client.ask("pid").then(Number)));
  const lost = pids.filter((each) => each === pid).length;
  Deno.kill(pid, "SIGKILL");
  await program.stderr.until(/worker \d is serving again/);
  const more = await admitted(lost + 2, open);
  assertEquals(more.length, lost);
  for (const client of [...clients, ...more]) client.socket.close();
  await Promise.all([...clients, ...more].map(({ closed }) => closed));
});
