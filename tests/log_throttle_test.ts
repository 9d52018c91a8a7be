import { assert, assertEquals } from "@std/assert";
import { createLogger, type LogLevel } from "../lib/log.ts";
import { throttled, type ThrottleOptions } from "../lib/log_throttle.ts";

interface Line {
  readonly level: LogLevel;
  readonly message: string;
  readonly address?: string;
  readonly more?: number;
  readonly reason?: string;
}

/** A throttled log whose clock the test sets. An interval ends only when the test flushes the log. */
function collected(options: ThrottleOptions = {}) {
  const lines: Line[] = [];
  const clock = { now: 0 };
  const log = createLogger({ format: "json", write: (line) => lines.push(JSON.parse(line)) });
  const throttle = throttled(log, { interval: 1e9, now: () => clock.now, ...options });
  return {
    throttle,
    /** Returns the lines written since the last call. */
    written: () => lines.splice(0),
    /** Ends an interval of ten seconds. */
    pass() {
      clock.now += 10_000;
      throttle.flush();
    },
    [Symbol.dispose]: () => throttle[Symbol.dispose](),
  };
}

Deno.test("logs the first refusals of an address, then one summary per interval until it is quiet", () => {
  using log = collected();
  for (let i = 0; i < 317; i++) log.throttle.warn("refused", { address: "192.0.2.1", reason: `try ${i}` });
  assertEquals(log.written().map((line) => line.reason), ["try 0", "try 1", "try 2", "try 3", "try 4"]);
  log.pass();
  const [summary, ...rest] = log.written();
  assertEquals(rest, []);
  assertEquals([summary?.level, summary?.message], ["warn", "refused: and 312 more in the last 10 s"]);
  assertEquals([summary?.address, summary?.more], ["192.0.2.1", 312]);

  for (let i = 0; i < 40; i++) log.throttle.warn("refused", { address: "192.0.2.1" });
  assertEquals(log.written(), []);
  log.pass();
  assertEquals(log.written().map((line) => line.message), ["refused: and 40 more in the last 10 s"]);

  log.pass();
  log.throttle.warn("refused", { address: "192.0.2.1" });
  assertEquals(log.written().map((line) => line.message), ["refused"]);
});

Deno.test("counts separately by address (IPv6 by /64), event and level", () => {
  using log = collected({ burst: 1 });
  const all = () => {
    log.throttle.warn("refused", { address: "192.0.2.1" });
    log.throttle.warn("refused", { address: "192.0.2.2" });
    log.throttle.warn("cut", { address: "192.0.2.1" });
    log.throttle.info("cut", { address: "192.0.2.1" });
    log.throttle.warn("refused");
    log.throttle.warn("refused", { address: "2001:db8::1" });
    log.throttle.warn("refused", { address: "2001:db8::2" });
  };
  all();
  assertEquals(log.written().length, 6);
  all();
  log.pass();
  const more = log.written();
  assertEquals(more.length, 6);
  assertEquals(more.find((line) => line.address === "2001:db8:0:0::/64")?.more, 3);
});

Deno.test("writes a bounded number of lines per interval for many clients, and loses no count", () => {
  using log = collected();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < 30_000; i++) {
      log.throttle.warn("refused", { address: `198.${i >> 16}.${(i >> 8) & 255}.${i & 255}` });
    }
    const first = log.written();
    log.pass();
    const then = log.written();
    assert(first.length + then.length <= 200, `${first.length} and ${then.length} lines`);
    assertEquals(first.length + then.reduce((sum, line) => sum + (line.more ?? 0), 0), 30_000);
  }
});

Deno.test("keeps counts of a bounded number of clients", () => {
  using log = collected({ keys: 3, burst: 1 });
  for (let i = 0; i < 10; i++) log.throttle.info("cut", { address: `192.0.2.${i}` });
  assertEquals(log.written().map((line) => line.address), ["192.0.2.0", "192.0.2.1", "192.0.2.2"]);
  log.pass();
  assertEquals(log.written().map((line) => line.message), ["and 7 more events of further clients in the last 10 s"]);
});

Deno.test("truncates a field to 1,000 characters", () => {
  using log = collected();
  log.throttle.warn("refused", { address: "192.0.2.1", reason: "x".repeat(60_000) });
  assertEquals(log.written()[0]?.reason, "x".repeat(1_000) + "…");
});

Deno.test("does not count events below the log level", () => {
  using log = collected();
  assertEquals([log.throttle.enabled("info"), log.throttle.enabled("debug")], [true, false]);
  for (let i = 0; i < 100; i++) log.throttle.debug("frame", { address: "192.0.2.1" });
  log.pass();
  assertEquals(log.written(), []);
});

Deno.test("writes the summary by a timer; disposing writes the rest and ends the timer", async () => {
  const lines: Line[] = [];
  const summarised = Promise.withResolvers<void>();
  const log = createLogger({
    format: "json",
    write(line) {
      lines.push(JSON.parse(line));
      if (lines.length === 2) summarised.resolve();
    },
  });
  const throttle = throttled(log, { interval: 20, burst: 1, now: () => 0 });
  for (let i = 0; i < 4; i++) throttle.error("refused", { address: "192.0.2.1" });
  // The log's timer does not keep the process alive, so the test does.
  const alive = setInterval(() => {}, 1_000);
  await summarised.promise;
  clearInterval(alive);
  assertEquals(lines[1]?.message, "refused: and 3 more in the last 1 s");

  throttle.error("refused", { address: "192.0.2.1" });
  throttle[Symbol.dispose]();
  assertEquals(lines[2]?.message, "refused: and 1 more in the last 1 s");
  throttle.error("stopped", { address: "192.0.2.1" });
  assertEquals(lines[3]?.message, "stopped");
});
