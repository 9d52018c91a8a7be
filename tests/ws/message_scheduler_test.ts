import { assert, assertEquals } from "@std/assert";
import { MemoryBudget } from "../../lib/ws/memory_budget.ts";
import { MessageScheduler, type ScheduledPeer } from "../../lib/ws/message_scheduler.ts";
import { Client } from "../support/client.ts";
import { startProgram } from "../support/program.ts";

/** A peer whose messages each take the given number of milliseconds. */
class Sender implements ScheduledPeer {
  round = 0;
  spent = 0;
  waiting = 0;
  handled = 0;
  readonly #took: number;
  readonly #scheduler: MessageScheduler;
  readonly #order: string[];
  readonly #name: string;

  constructor(name: string, took: number, scheduler: MessageScheduler, order: string[] = []) {
    this.#name = name;
    this.#took = took;
    this.#scheduler = scheduler;
    this.#order = order;
  }

  /** Receives a message. */
  receive(): void {
    if (this.waiting === 0 && this.#scheduler.mayHandle(this)) return this.#handle();
    this.waiting++;
    this.#scheduler.add(this);
  }

  handleNext(): void {
    this.waiting--;
    this.#handle();
  }

  #handle(): void {
    for (const until = performance.now() + this.#took; performance.now() < until;);
    this.handled++;
    this.#order.push(this.#name);
  }
}

/** Counts the turns of the event loop until a condition is true. */
async function turnsUntil(condition: () => boolean): Promise<number> {
  let turns = 0;
  for (; !condition(); turns++) {
    assert(turns < 10_000, "it never was");
    await new Promise((resolve) => setTimeout(resolve, 0));
  }
  return turns;
}

Deno.test("handles a burst in order over several turns, and other peers' messages in between", async () => {
  using scheduler = new MessageScheduler(new MemoryBudget(Infinity));
  const order: string[] = [];
  const busy = new Sender("busy", 2, scheduler, order);
  const light = new Sender("light", 0, scheduler, order);
  for (let count = 0; count < 100; count++) busy.receive();
  light.receive();
  // The scheduler does not time the first messages of a turn.
  assert(busy.waiting > 40, `${busy.waiting} of 100 wait`);
  await turnsUntil(() => order.length === 101);
  assertEquals([busy.handled, busy.waiting, light.handled], [100, 0, 1]);
  assert(order.indexOf("light") < 80, `the other peer's message came as number ${order.indexOf("light")}`);
});

Deno.test("notices after a few messages that the app is slow", () => {
  using scheduler = new MessageScheduler(new MemoryBudget(Infinity));
  const sender = new Sender("slow", 12, scheduler);
  for (let count = 0; count < 20; count++) sender.receive();
  // The second one is timed, and takes longer than the time of a peer.
  assertEquals(sender.handled, 2);
});

Deno.test("an app that is slow does not make its clients look like flooders", async () => {
  await using program = await startProgram(["--mode", "proxied", "--app", "./slow.ts"], {
    files: {
      "slow.ts": `import { defineApp } from "@wss/wss";
        export default defineApp({
          message(peer, message) {
            if (typeof message.rawData === "string") return void peer.send("done");
            for (const end = performance.now() + 20; performance.now() < end;);
          },
        });`,
    },
  });
  const clients = await Promise.all(Array.from({ length: 8 }, () => Client.open(program.url)));
  const part = new Uint8Array(256 * 1024);
  for (const client of clients) for (let count = 0; count < 12; count++) client.send(part);
  assertEquals(await Promise.all(clients.map((client) => client.ask("last"))), clients.map(() => "done"));
  for (const client of clients) await client.close();
});

Deno.test("serves the waiting peer with the fewest messages first", async () => {
  using scheduler = new MessageScheduler(new MemoryBudget(Infinity));
  const order: string[] = [];
  const first = new Sender("first", 1, scheduler, order);
  for (let count = 0; count < 200; count++) first.receive();
  const others = ["60", "40", "20"].map((name) => new Sender(name, 1, scheduler, order));
  for (const [index, count] of [60, 40, 20].entries()) {
    for (let more = 0; more < count; more++) others[index]!.receive();
  }
  await turnsUntil(() => order.length === 320);
  const last = ["20", "40", "60", "first"].map((name) => order.lastIndexOf(name));
  assertEquals(last, last.toSorted((one, other) => one - other));
});

Deno.test("continues when the sent bytes have left, or after a timeout", async () => {
  const budget = new MemoryBudget(Infinity);
  using scheduler = new MessageScheduler(budget);
  const readers = Array.from({ length: 8 }, () => ({ buffered: 100 }));
  const sendToAll = () => {
    for (let count = 0; count < 256; count++) budget.sent(100, readers[(count >> 5) % 8]!);
  };
  const publisher = new Sender("publisher", 15, scheduler);
  sendToAll();
  publisher.receive();
  publisher.receive();
  const began = performance.now();
  assertEquals(publisher.waiting, 1);
  await turnsUntil(() => publisher.handled === 2);
  const waited = performance.now() - began;
  assert(waited >= 90, `${waited} ms`);

  let rest = 3;
  await turnsUntil(() => rest-- === 0);
  // Now only a minority of the readers does not make progress.
  sendToAll();
  for (const reader of readers.slice(0, 5)) reader.buffered = 0;
  publisher.receive();
  publisher.receive();
  assertEquals(publisher.waiting, 1);
  const turns = await turnsUntil(() => publisher.handled === 4);
  assert(turns < 10, `${turns} turns`);
});

Deno.test("does not call a removed peer again", async () => {
  using scheduler = new MessageScheduler(new MemoryBudget(Infinity));
  const gone = new Sender("gone", 12, scheduler);
  const other = new Sender("other", 12, scheduler);
  for (let count = 0; count < 40; count++) gone.receive();
  for (let count = 0; count < 3; count++) other.receive();
  const { handled } = gone;
  scheduler.remove(gone);
  await turnsUntil(() => other.handled === 3);
  assertEquals(gone.handled, handled);
});
