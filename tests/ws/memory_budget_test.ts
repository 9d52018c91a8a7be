import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { type BudgetMember, MemoryBudget, MESSAGE_COST } from "../../lib/ws/memory_budget.ts";
import { IdleTimeouts } from "../../lib/ws/idle_timeout.ts";
import { Poller } from "../../lib/ws/poller.ts";
import { CorkTimer, SendBuffer, type SendStatus } from "../../lib/ws/send_buffer.ts";
import { serving } from "../support/serving.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

class Member implements BudgetMember {
  bytes: number;
  released = false;

  constructor(budget: MemoryBudget, bytes: number) {
    this.bytes = bytes;
    budget.add(this);
  }

  measure(): number {
    return this.bytes;
  }

  release(): void {
    this.released = true;
  }
}

Deno.test("over the budget, the peers with the most unsent bytes are closed, and no more than needed", () => {
  const budget = new MemoryBudget(1_000);
  const [small, big, middle] = [100, 600, 300].map((bytes) => new Member(budget, bytes));
  budget.enforce();
  assertEquals([small!.released, big!.released, middle!.released], [false, true, false]);
  assertEquals(budget.used, 400);
});

Deno.test("messages that were sent since the last count are not counted", () => {
  const budget = new MemoryBudget(1_000);
  const one = new Member(budget, 0);
  const other = new Member(budget, 200);
  budget.used = 5_000;
  budget.enforce();
  assertEquals([one.released, other.released, budget.used], [false, false, 200]);
  budget.delete(other);
  budget.enforce();
  assertEquals(budget.used, 0);
});

/** A socket that sends nothing until the test calls `take`, with the kernel's figures about it. */
class Line {
  bufferedAmount = 0;
  acknowledged = 0;
  readonly #queue: number[] = [];
  readonly buffer: SendBuffer;
  readonly budget = new MemoryBudget(Infinity);

  constructor(limit: number) {
    const socket = this as unknown as WebSocket;
    const connection = { acknowledged: () => this.acknowledged, cork: () => false };
    this.buffer = new SendBuffer({
      socket,
      limit,
      budget: this.budget,
      connection,
      corkTimer: new CorkTimer(),
      idleTimeouts: new IdleTimeouts(0, new Poller()),
      tlsFlush: undefined,
    });
    this.buffer.open();
  }

  send(payload: string): void {
    this.#queue.push(payload.length);
    this.bufferedAmount += payload.length;
  }

  take(count: number): void {
    for (const bytes of this.#queue.splice(0, count)) {
      this.bufferedAmount -= bytes;
      this.acknowledged += bytes + 31;
    }
  }

  get waiting(): number {
    return this.#queue.length;
  }
}

Deno.test("the overhead of short messages is counted until they are sent", () => {
  const line = new Line(MIB);
  const seen: SendStatus[] = [];
  for (let sent = 0; sent < 9_000; sent++) {
    const status = line.buffer.send("x");
    if (status !== seen.at(-1)) seen.push(status);
  }
  assertEquals(seen, ["fine", "wait", "over", "full"]);
  assert(line.buffer.measure() >= 9_000 * MESSAGE_COST);
  assertEquals(line.buffer.left, 0);
  line.take(5_000);
  assertEquals(line.buffer.left, 5_000);
  line.take(4_000);
  assertEquals([line.buffer.measure(), line.buffer.over, line.buffer.left], [0, false, 9_000]);
});

Deno.test("a reading peer is never closed, however much it receives", () => {
  for (const lengths of [[1], [0], [26], [0, 5_000], [2, 30_000]]) {
    const line = new Line(MIB);
    for (let sent = 0; sent < 200_000; sent++) {
      const status = line.buffer.send("x".repeat(lengths[sent % lengths.length]!));
      // Deno does not report messages without payload, and the kernel reports them later.
      assert(status === "fine" || (lengths.includes(0) && status === "wait"), `${lengths}, ${sent}: ${status}`);
      if (line.waiting > 3) line.take(line.waiting - 1);
    }
  }
});

Deno.test("empty messages to a peer that does not read are counted", () => {
  const line = new Line(MIB);
  let status: SendStatus = "fine";
  for (let sent = 0; sent < 5_000 && status === "fine"; sent++) status = line.buffer.send("");
  assertEquals(status, "wait");
  line.take(line.waiting);
  line.buffer.measure();
  line.acknowledged += 64 * KIB;
  assertEquals(line.buffer.measure(), 0);
});

Deno.test("with an empty buffer one message of any length is allowed, but not a second one", () => {
  const line = new Line(KIB);
  assertEquals(line.buffer.send("x".repeat(10 * MIB)), "over");
  line.take(1);
  for (let sent = 0; sent < 10; sent++) {
    line.buffer.send("short");
    line.take(1);
  }
  assertEquals(line.buffer.send("x".repeat(10 * MIB)), "over");
  for (let sent = 0; sent < 2; sent++) line.buffer.send("x".repeat(10 * MIB));
  assertEquals(line.buffer.send("x"), "full");
});

Deno.test("messages that wait for a slow app count, and the peers with the most are closed with 1013", async () => {
  const closed: { readonly code?: number; readonly reason?: string }[] = [];
  const app = defineApp({
    message(peer, message) {
      if (typeof message.rawData === "string") peer.send("done");
      // Most messages wait, because the app needs 2 ms for each.
      else for (const until = performance.now() + 2; performance.now() < until;);
    },
    close: (_peer, details) => void closed.push(details),
  });
  await using served = await serving(app, { mode: "proxied", memoryBudget: "4MiB" });
  const clients = await Promise.all(Array.from({ length: 8 }, () => served.connect()));
  const part = new Uint8Array(32 * KIB);
  for (const client of clients) for (let count = 0; count < 90; count++) client.send(part);
  const answers = await Promise.all(
    clients.map((client) => Promise.race([client.ask("last").catch(() => "none"), client.closed])),
  );
  const reason = "memory budget exceeded: this client uses the most memory";
  assert(closed.some((each) => each.code === 1013 && each.reason === reason), JSON.stringify(closed));
  // The messages of one client are within the budget.
  assert(answers.includes("done"));
});

Deno.test("a close hook runs after the publish that ended its peer, so all subscribers get both messages in the same order", async () => {
  // The fullest peer is already closing when the publish to the others exceeds the budget, so its connection is aborted.
  const closed: (number | undefined)[] = [];
  const app = defineApp({
    message(peer, message) {
      if (message.text() === "join") {
        peer.subscribe("room");
        peer.send("joined");
        return;
      }
      peer.send(new Uint8Array(6 * MIB));
      peer.close(4000, "full");
      served.service.publish("room", new Uint8Array(3 * MIB));
    },
    close(_peer, { code }) {
      closed.push(code);
      served.service.publish("room", "left");
    },
  });
  await using served = await serving(app, { mode: "proxied", memoryBudget: "8MiB", maxBackpressure: "8MiB" });
  await using one = await served.connect();
  await using other = await served.connect();
  for (const reader of [one, other]) assertEquals(await reader.ask("join"), "joined");
  const full = await served.connect();
  full.send("begin");
  for (const reader of [one, other]) {
    const received = [await reader.next(), await reader.next()];
    assertEquals(received.map((data) => typeof data === "string" ? data : data.byteLength), [3 * MIB, "left"]);
  }
  assertEquals(closed, [4000]);
  await full.closed;
});
