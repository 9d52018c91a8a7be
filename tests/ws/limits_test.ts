import { assert, assertEquals, assertThrows } from "@std/assert";
import { MessageRate, TurnBudget, TurnCounter } from "../../lib/ws/limits.ts";
import { seeded } from "../support/seeded.ts";

Deno.test("a message rate takes a burst of twice the rate, then the rate", () => {
  for (const rate of [1, 3, 7, 1_000]) {
    const bucket = new MessageRate(rate);
    const count = (now: number) => {
      let taken = 0;
      while (bucket.take(now)) taken++;
      return taken;
    };
    assertEquals(count(12_345.678), 2 * rate, `rate ${rate}: the burst`);
    assertEquals(count(13_345.678), rate, `rate ${rate}: a second later`);
    assertEquals(count(13_345.678 + 1000 / rate), 1, `rate ${rate}: one message's time later`);
    assertEquals(count(10_000_000), 2 * rate, `rate ${rate}: after a long rest no more than a burst`);
  }
});

Deno.test("whatever the times, a message rate grants no more than rate times time plus the burst, and no less", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const random = seeded(seed);
    const rate = 1 + random(50);
    const bucket = new MessageRate(rate);
    let now = random(1_000_000);
    let level = 2 * rate;
    for (let step = 0; step < 5_000; step++) {
      const waited = random(4) === 0 ? random(3_000) : random(20);
      now += waited;
      level = Math.min(2 * rate, level + waited * rate / 1000);
      const granted = bucket.take(now);
      // The model's own rounding decides nothing: within a hundredth of a message both answers are right.
      if (Math.abs(level - 1) > 0.02) assertEquals(granted, level > 1, `seed ${seed} step ${step} level ${level}`);
      if (granted) level -= 1;
    }
  }
});

Deno.test("a message rate below one a second, or none, is an error that names it", () => {
  for (const rate of [0, -1, NaN, Infinity]) assertThrows(() => new MessageRate(rate), RangeError, String(rate));
});

Deno.test("20,000 messages in one turn of the event loop are too many, whatever microtasks run between them", async () => {
  using turns = new TurnCounter();
  const flooder = new TurnBudget(turns, 1024 ** 2);
  const bystander = new TurnBudget(turns, 1024 ** 2);
  let taken = 0;
  while (flooder.take(2)) {
    taken++;
    await Promise.resolve();
    if (taken > 100_000) break;
  }
  assert(taken >= 20_000 && taken < 21_000, `${taken} were taken`);
  for (let i = 0; i < 19_999; i++) assert(bystander.take(2), "another connection has its own count");
});

Deno.test("128 MiB in one turn of the event loop are too many, or four of the longest messages", () => {
  using turns = new TurnCounter();
  for (
    const [longest, bytes, least, most] of [[1, 1, 128, 145], [1, 0.5, 256, 280], [64, 64, 4, 6], [64, 1, 256, 273]]
  ) {
    const flooder = new TurnBudget(turns, longest! * 1024 ** 2);
    let taken = 0;
    while (taken < 10_000 && flooder.take(bytes! * 1024 ** 2)) taken++;
    assert(taken >= least! && taken <= most!, `${taken} messages of ${bytes} MiB were taken`);
  }
});

Deno.test("messages with turns of the event loop between them are never too many", async () => {
  using turns = new TurnCounter();
  const client = new TurnBudget(turns, 1024 ** 2);
  for (let batch = 0; batch < 20; batch++) {
    for (let i = 0; i < 15_000; i++) assert(client.take(2), `batch ${batch} message ${i}`);
    // Not a timer: one that is due runs before the loop has turned.
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
});
