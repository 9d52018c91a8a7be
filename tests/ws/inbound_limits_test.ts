/** The limits on the messages that a peer may send, and on those that may wait for the app. */
import { assert, assertEquals } from "@std/assert";
import { InboundLimits } from "../../lib/ws/inbound_limits.ts";

const UNLIMITED = { maxPayload: 1_000, messageRate: 0 };

Deno.test("accepts a message of maxPayload bytes, and closes with 1009 for one byte more", () => {
  const limits = new InboundLimits(UNLIMITED);
  for (const fits of ["x".repeat(1_000), "ü".repeat(500), new ArrayBuffer(1_000), ""]) {
    assertEquals(limits.check(fits), undefined);
  }
  for (const long of ["x".repeat(1_001), "ü".repeat(500) + "x", new ArrayBuffer(1_001)]) {
    assertEquals(limits.check(long), { code: 1009, reason: "message exceeds maxPayload (1000 bytes)", limit: true });
  }
});

Deno.test("accepts a burst of twice the rate, and closes with 1008 for one more; 0 means no limit", () => {
  const limits = new InboundLimits({ maxPayload: 10, messageRate: 1_000 });
  let taken = 0;
  let refused;
  while ((refused = limits.check("x")) === undefined && taken < 1_000_000) taken++;
  assert(taken >= 2_000, `${taken}`);
  assertEquals(refused, { code: 1008, reason: "message rate exceeds 1000 per second", limit: true });
  const unlimited = new InboundLimits(UNLIMITED);
  for (let count = 0; count < 100_000; count++) assertEquals(unlimited.check("x"), undefined);
});

Deno.test("queued messages leave in order, and are then no longer counted", () => {
  const limits = new InboundLimits(UNLIMITED);
  let next = 0;
  let out = 0;
  assertEquals([limits.waiting, limits.cost, limits.dequeue()], [0, 0, undefined]);
  // The messages come in waves, so that the queue compacts and reallocates.
  for (const [add, take] of [[5_000, 3_000], [5_000, 6_000], [10, 1_010], [2_000, 2_000]] as const) {
    for (let count = 0; count < add; count++) assertEquals(limits.enqueue(`${next++}`), undefined);
    assertEquals(limits.waiting, next - out);
    assert(limits.cost >= limits.waiting);
    for (let count = 0; count < take; count++) assertEquals(limits.dequeue(), `${out++}`);
  }
  assertEquals([limits.waiting, limits.cost, limits.dequeue()], [0, 0, undefined]);
});

Deno.test("queues up to 20,000 messages, 16 MiB, or four of the maximum length", () => {
  const fill = (maxPayload: number, size: number) => {
    const limits = new InboundLimits({ maxPayload, messageRate: 0 });
    let taken = 0;
    let refused;
    while ((refused = limits.enqueue(new ArrayBuffer(size))) === undefined && taken < 100_000) taken++;
    assertEquals([refused?.code, refused?.limit], [1008, true]);
    return taken;
  };
  assertEquals(fill(1_000, 0), 20_000);
  assertEquals(fill(1_000, 1_000), Math.floor(16 * 1024 ** 2 / 1_000));
  assertEquals(fill(8 * 1024 ** 2, 8 * 1024 ** 2), 4);
});

Deno.test("dropping the queue resets its counts", () => {
  const limits = new InboundLimits(UNLIMITED);
  for (const message of ["a", "b"]) limits.enqueue(message);
  limits.dropQueue();
  assertEquals([limits.waiting, limits.cost], [0, 0]);
  limits.enqueue("c");
  assertEquals(limits.dequeue(), "c");
});
