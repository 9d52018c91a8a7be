import { assertEquals, assertThrows } from "@std/assert";
import { MessageRate } from "../../lib/ws/message_rate.ts";
import { seeded } from "../support/seeded.ts";

Deno.test("a message rate allows a burst of twice the rate, then the rate", () => {
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

Deno.test("a message rate allows exactly rate times time plus the burst, at any times", () => {
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
      // The model has rounding errors, so both answers are correct within two hundredths of a message.
      if (Math.abs(level - 1) > 0.02) assertEquals(granted, level > 1, `seed ${seed} step ${step} level ${level}`);
      if (granted) level -= 1;
    }
  }
});

Deno.test("rejects a message rate that is not at least one per second", () => {
  for (const rate of [0, -1, NaN, Infinity]) assertThrows(() => new MessageRate(rate), RangeError, String(rate));
});
