import { assertEquals } from "@std/assert";
import { State } from "../../../lib/net/watchdog/connection_table.ts";
import {
  type ConnectionSample,
  defaultKeepAliveTimeout,
  TrackedSocket,
  type WatchdogLimits,
} from "../../../lib/net/watchdog/watchdog_rules.ts";

const LIMITS: WatchdogLimits = {
  handshakeTimeout: 1_000,
  keepAliveTimeout: 5_000,
  closeTimeout: 500,
  maxPayload: 1 << 20,
  messageTimeout: 300_000,
  unfinishedBudget: Infinity,
};

function sample(change: Partial<ConnectionSample> = {}): ConnectionSample {
  const quiet = { delivered: 0, read: 0, deliveredSince: 0, received: 0, sent: 0, unread: () => 0 };
  return { state: State.open, requestCount: 1, ...quiet, ...change };
}

/** The verdicts on a connection that is looked at once a second while `at` says what is seen. */
function verdict(
  seconds: number,
  at: (second: number) => Partial<ConnectionSample>,
  limits = LIMITS,
): string | undefined {
  const watched = new TrackedSocket(1, 0);
  for (let second = 0; second <= seconds; second++) {
    const reason = watched.evaluate(sample(at(second)), second * 1_000, limits);
    if (reason !== undefined) return `${reason} after ${second} s`;
  }
  return undefined;
}

Deno.test("each state has its timeout", () => {
  assertEquals(verdict(10, () => ({ state: State.none })), "handshake after 2 s");
  assertEquals(verdict(10, () => ({ state: State.body })), "body after 2 s");
  assertEquals(verdict(10, () => ({ state: State.upgrading })), "upgrade after 2 s");
  assertEquals(verdict(10, () => ({ state: State.closing })), "close after 1 s");
  assertEquals(verdict(10, () => ({ state: State.request })), "idle after 6 s");
  assertEquals(verdict(10_000, () => ({})), undefined);
});

Deno.test("a request may wait for its token check and the app's upgrade hook as long as --handshake-timeout allows", () => {
  const waits = (seconds: number) => {
    const handshakeTimeout = seconds * 1_000;
    return { ...LIMITS, handshakeTimeout, keepAliveTimeout: defaultKeepAliveTimeout(handshakeTimeout) };
  };
  const request = () => ({ state: State.request });
  assertEquals(verdict(1_000, request, waits(10)), "idle after 76 s");
  assertEquals(verdict(1_000, request, waits(120)), "idle after 242 s");
});

Deno.test("after a close frame the timeout begins again while the peer reads, up to one minute", () => {
  const closing = (until: number) => (second: number) => ({ state: State.closing, sent: Math.min(second, until) });
  assertEquals(verdict(100, closing(0)), "close after 1 s");
  assertEquals(verdict(100, closing(20)), "close after 21 s");
  assertEquals(verdict(100, closing(100)), "close after 61 s");
});

Deno.test("after a close frame the limits of messages still apply", () => {
  const closing = (second: number) => ({ state: State.closing, sent: second });
  assertEquals(verdict(100, (second) => ({ ...closing(second), received: second * 300_000 })), "payload after 8 s");
  const slow = (second: number) => ({ ...closing(second), received: second * 2_000 });
  assertEquals(verdict(100, slow), "close after 61 s");
});

Deno.test("bytes do not extend the timeout before a request; each later request does", () => {
  assertEquals(verdict(10, (second) => ({ state: State.none, received: second })), "handshake after 2 s");
  assertEquals(verdict(100, (second) => ({ state: State.request, requestCount: second >> 2 })), undefined);
});

Deno.test("more bytes than a message may have, without a delivery, exceed the limit", () => {
  assertEquals(verdict(60, (second) => ({ received: second * 200_000 })), "payload after 12 s");
  // The same, in messages that arrive.
  assertEquals(verdict(60, (second) => ({ received: second * 200_000, delivered: second })), undefined);
  // The same, most of which waits in the kernel: this process has not read it.
  assertEquals(
    verdict(60, (second) => ({ received: second * 200_000, unread: () => second * 150_000 })),
    "payload after 48 s",
  );
});

Deno.test("a message of maximum length in small TLS records does not exceed the limit", () => {
  const whole = LIMITS.maxPayload * (1 + (29 + 6) / 100);
  assertEquals(
    verdict(20, (second) => ({ received: Math.min(second / 10, 1) * whole, delivered: second >> 4 })),
    undefined,
  );
});

Deno.test("a day of pings or unsolicited pongs does not exceed the limit", () => {
  const day = 86_400;
  const ping = 125 + 6 + 29;
  assertEquals(verdict(day, (second) => ({ received: second * ping, sent: second * ping })), undefined);
  assertEquals(verdict(day, (second) => ({ received: second * ping })), undefined);
  assertEquals(verdict(day, (second) => ({ received: second * 7 * ping, sent: second * 7 * ping })), undefined);
});

Deno.test("messages sent to a subscriber do not extend its limit", () => {
  assertEquals(
    verdict(60, (second) => ({ received: second * 200_000, sent: second * 10_000_000 })),
    "payload after 12 s",
  );
});

Deno.test("an unfinished message has a timeout, however slowly it arrives; a complete one resets it", () => {
  const limits = { ...LIMITS, messageTimeout: 20_000 };
  const end = (at: (second: number) => Partial<ConnectionSample>) => {
    const watched = new TrackedSocket(1, 0);
    for (let second = 0; second <= 100; second++) {
      const reason = watched.evaluate(sample(at(second)), second * 1_000, limits);
      if (reason !== undefined) return `${reason} after ${second} s`;
    }
    return undefined;
  };
  assertEquals(end((second) => ({ received: Math.min(second, 1) * 100_000 })), "unfinished after 22 s");
  assertEquals(end((second) => ({ received: second * 2_000 })), "unfinished after 31 s");
  // Slow, and whole every 15 s.
  assertEquals(end((second) => ({ received: second * 20_000, delivered: Math.floor(second / 15) })), undefined);
  // What waits in the kernel takes no memory of this process.
  assertEquals(end((second) => ({ received: second * 2_000, unread: () => second * 2_000 })), undefined);
});

Deno.test("the bytes of an unfinished message are reported without those of pings and pongs", () => {
  const watched = new TrackedSocket(1, 0);
  const see = (received: number, second: number, change: Partial<ConnectionSample> = {}) => {
    watched.evaluate(sample({ received, ...change }), second * 1_000, LIMITS);
    return watched.unfinished;
  };
  assertEquals(see(1_000, 0), 0);
  assertEquals(see(901_000, 1), 900_000 - 256);
  assertEquals(see(901_000, 2, { unread: () => 400_000 }), 500_000 - 512);
  assertEquals(see(1_001_000, 3, { delivered: 1 }), 0);
});

Deno.test("bytes before the first scan after a delivery count unless they belong to a complete message", () => {
  const watched = new TrackedSocket(1, 0);
  const see = (second: number, change: Partial<ConnectionSample>) => {
    watched.evaluate(sample(change), second * 1_000, LIMITS);
    return Math.round(watched.unfinished + second * 256);
  };
  // Read when it opened: 1,000. Then a message of 20,000 bytes and a large part of another.
  const open = { read: 1_000, delivered: 20_043, deliveredSince: 20_043, received: 921_000 };
  assertEquals(see(0, open), 0);
  const part = 921_000 - 1_000 - 20_043 * 1.5;
  assertEquals(Math.abs(see(1, open) - part) <= 256, true);
  // Whole messages only: their overhead is no unfinished message.
  const whole = { read: 1_000, delivered: 90_000, deliveredSince: 69_957, received: 95_000 };
  assertEquals([see(2, whole), see(3, whole) - 3 * 256], [2 * 256, 0]);
});

Deno.test("a connection is a flood if its bytes are read while the event loop is blocked and more are waiting", () => {
  const flooder = new TrackedSocket(1, 0);
  assertEquals([0, 1, 2, 3].map((scan) => flooder.recordStalledRead(scan * 1_000, 100_000)), [0, 1, 2, 3]);
  flooder.resetFloodCount();
  assertEquals([9_000, 10_000].map((bytes) => flooder.recordStalledRead(bytes, 100_000)), [0, 1]);
  // The rest of one message, read once.
  const bystander = new TrackedSocket(2, 0);
  assertEquals([0, 900_000, 900_000, 900_000].map((bytes) => bystander.recordStalledRead(bytes, 50_000)), [0, 1, 1, 1]);
  // A long message that comes more slowly than it is read.
  const uploader = new TrackedSocket(3, 0);
  assertEquals([0, 90_000, 180_000, 270_000].map((bytes) => uploader.recordStalledRead(bytes, 1_448)), [0, 0, 0, 0]);
});
