import { assert, assertEquals, assertMatch } from "@std/assert";
import chat from "../../lib/apps/chat.ts";
import { serve, type Service } from "../../lib/mod.ts";
import { Client } from "../support/client.ts";
import { usedHeap } from "../support/heap.ts";

/** Connects a client to the lobby, sets its name, and reads the messages up to then. */
async function enter(service: Service, name: string): Promise<Client> {
  const client = await Client.open(service.url);
  assertMatch(await client.next() as string, /^welcome, guest-[0-9a-f]{4}: \/name NAME/);
  assertMatch(await client.next() as string, /^\* guest-[0-9a-f]{4} joined lobby$/);
  assertMatch(await client.ask(`/name ${name}`) as string, new RegExp(`^\\* guest-[0-9a-f]{4} is now ${name}$`));
  return client;
}

Deno.test("chat", async (t) => {
  await using service = await serve(chat, { mode: "proxied", port: 0 });
  await using anna = await enter(service, "Anna");
  await using ben = await enter(service, "Ben");
  await anna.until(/is now Ben$/);

  await t.step("a line reaches everybody in the room once, including the sender", async () => {
    assertEquals(await anna.ask("hello"), "Anna: hello");
    assertEquals(await ben.next(), "Anna: hello");
    assertEquals(await ben.ask("  and hello to you "), "Ben: and hello to you");
    assertEquals(await anna.next(), "Ben: and hello to you");
  });

  await t.step(
    "/who lists the names in the room",
    async () => assertEquals(await ben.ask("/who"), "in lobby: Anna, Ben"),
  );

  await t.step("a line does not reach other rooms", async () => {
    assertEquals(await ben.ask("/join garden"), "* Ben joined garden");
    assertEquals(await anna.next(), "* Ben left lobby");
    assertEquals(await anna.ask("anybody?"), "Anna: anybody?");
    assertEquals(await ben.ask("nobody here"), "Ben: nobody here");
    assertEquals(await anna.ask("/who"), "in lobby: Anna");
    assertEquals(await ben.ask("/who"), "in garden: Ben");
    assertEquals(await ben.ask("/join lobby"), "* Ben joined lobby");
    assertEquals(await anna.next(), "* Ben joined lobby");
  });

  await t.step("/to sends a private message", async () => {
    assertEquals(await anna.ask("/to Ben a word"), "Anna to Ben: a word");
    assertEquals(await ben.next(), "Anna to Ben: a word");
    assertEquals(await anna.ask("/to Be a word"), "nobody is called Be");
    assertEquals(await anna.ask("/to"), "nobody is called ");
  });

  await t.step("rejects invalid names, invalid rooms and unknown commands, and ignores empty lines", async () => {
    assertMatch(await ben.ask("/name two words") as string, /^\* Ben is now two$/);
    assertMatch(await ben.ask("/name <b>") as string, /^a name has 1 to 32 letters/);
    assertMatch(await ben.ask("/name") as string, /^a name has 1 to 32 letters/);
    assertMatch(await ben.ask(`/name ${"x".repeat(33)}`) as string, /^a name has/);
    assertMatch(await ben.ask("/join a/b") as string, /^a room's name has/);
    assertMatch(await ben.ask("/dance") as string, /^\/name NAME/);
    ben.send("   ");
    assertEquals(await ben.ask("汤姆"), "two: 汤姆");
    await anna.until(/汤姆/);
  });

  await t.step("a name in use is refused, and is free again after a change", async () => {
    assertEquals(await ben.ask("/name Anna"), "Anna is taken");
    assertEquals(await ben.ask("/who"), "in lobby: Anna, two");
    assertEquals(await ben.ask("/name Ben"), "* two is now Ben");
    await anna.until(/is now Ben$/);
    assertEquals(await anna.ask("/name two"), "* Anna is now two");
    await ben.until(/is now two$/);
    assertEquals(await anna.ask("/name Anna"), "* two is now Anna");
    await ben.until(/is now Anna$/);
    assertEquals(await ben.ask("/name two"), "* Ben is now two");
    await anna.until(/is now two$/);
  });

  await t.step("of two simultaneous requests for a name, one succeeds", async () => {
    await using one = await enter(service, "one");
    await using other = await enter(service, "other");
    one.send("/name same");
    other.send("/name same");
    one.send("/who");
    other.send("/who");
    const lists = [await one.until(/^in lobby: .*same/), await other.until(/^in lobby: .*same/)];
    for (const list of lists) assertEquals(list.match(/\bsame\b/g)?.length, 1, list);
    assertEquals(lists.every((list) => /\bone\b/.test(list) !== /\bother\b/.test(list)), true, lists.join());
  });
  for (const client of [anna, ben]) {
    await client.until(/left lobby$/);
    await client.until(/left lobby$/);
  }

  await t.step("rejects lines with control characters", async () => {
    for (const line of ["a\u001b[2Jb", "a\nAnna: forged", "\u202eevil", "tab\there"]) {
      assertEquals(await anna.ask(line), "a line has no control characters");
    }
    assertEquals(await anna.ask("👩‍💻 fine"), "Anna: 👩‍💻 fine");
    await ben.until(/fine$/);
  });

  await t.step("reads binary messages as text", async () => {
    assertEquals(await anna.ask(new TextEncoder().encode("bytes")), "Anna: bytes");
    await ben.until(/^Anna: bytes$/);
  });

  await t.step("announces a client that closes its connection", async () => {
    const carl = await enter(service, "Carl");
    await anna.until(/is now Carl$/);
    await carl.close();
    assertEquals(await anna.next(), "* Carl left lobby");
    assertEquals(await anna.ask("/who"), "in lobby: Anna, two");
  });

  await t.step("announces a client that vanishes without a close", async () => {
    const { hostname, port } = service.addr as Deno.NetAddr;
    const raw = await Deno.connect({ hostname, port });
    const head = `GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
    await raw.write(new TextEncoder().encode(head));
    const joined = /^\* (guest-[0-9a-f]{4}) joined lobby$/.exec(await anna.until(/joined lobby$/))!;
    raw.close();
    await anna.until(new RegExp(`^\\* ${joined[1]} left lobby$`));
  });
});

Deno.test("chat: a name and a room do not keep the lines that they were in", async () => {
  await using stack = new AsyncDisposableStack();
  const service = stack.use(await serve(chat, { mode: "proxied", port: 0 }));
  const clients: Client[] = [];
  for (let i = 0; i < 20; i++) clients.push(stack.use(await enter(service, `somebody-${i}`)));
  const before = usedHeap();
  const rest = "x".repeat(900_000);
  for (const [i, client] of clients.entries()) {
    client.send(`/name somebody-with-a-name-${i} ${rest}`);
    await client.until(/ is now somebody-with-a-name-/);
    client.send(`/join a-room-with-a-name-${i} ${rest}`);
    await client.until(/ joined a-room-with-a-name-/);
  }
  const grown = usedHeap() - before;
  assert(grown < 12 * 1024 ** 2, `${grown} bytes: the lines have 36 MB`);
});
