/** Bursts are sent corked, a single message is not, and a close does not wait for a cork. */
import { assert, assertEquals } from "@std/assert";
import { defineApp } from "../../lib/ws/app_types.ts";
import { MemoryBudget } from "../../lib/ws/memory_budget.ts";
import { IdleTimeouts } from "../../lib/ws/idle_timeout.ts";
import { Poller } from "../../lib/ws/poller.ts";
import { CorkTimer, SendBuffer } from "../../lib/ws/send_buffer.ts";
import { python } from "../net/process.ts";
import { serving } from "../support/serving.ts";

/** Fewer than the ten segments of an initial congestion window (RFC 6928). The kernel would merge more in any case. */
const BURST = 8;
const MESSAGE = "x".repeat(64);

Deno.test("a burst of messages shares TCP segments", async () => {
  const app = defineApp({
    message(peer) {
      for (let sent = 0; sent < BURST; sent++) peer.send(MESSAGE);
    },
  });
  await using served = await serving(app);
  // Without the cork, each message would be its own segment.
  const segments = Number(await python("../ws/segments.py", served.raw.port, BURST * (MESSAGE.length + 2)));
  assert(segments < BURST / 2, `${BURST} messages came in ${segments} segments`);
});

/** A socket that writes nothing until `write`, with a record of the corks set on its connection. */
class Line {
  bufferedAmount = 0;
  readonly corks: boolean[] = [];
  readonly buffer: SendBuffer;

  constructor(corkTimer: CorkTimer) {
    this.buffer = new SendBuffer({
      socket: this as unknown as WebSocket,
      limit: Infinity,
      budget: new MemoryBudget(Infinity),
      connection: {
        acknowledged: () => undefined,
        cork: (on) => this.corks.push(on) > 0,
      },
      corkTimer,
      idleTimeouts: new IdleTimeouts(0, new Poller()),
      tlsFlush: undefined,
    });
    this.buffer.open();
  }

  send(payload: string): void {
    this.bufferedAmount += payload.length;
  }

  write(): void {
    this.bufferedAmount = 0;
  }
}

Deno.test("the second waiting message corks the socket once, and the timer uncorks it", async () => {
  using timer = new CorkTimer();
  const [burst, single] = [new Line(timer), new Line(timer)];
  for (let round = 0; round < 2; round++) {
    for (let sent = 0; sent < 10; sent++) {
      burst.buffer.send(MESSAGE);
      single.buffer.send(MESSAGE);
      single.write();
    }
    burst.write();
    while (burst.corks.length < (round + 1) * 2) await new Promise((resolve) => setTimeout(resolve));
  }
  assertEquals(burst.corks, [true, false, true, false]);
  assertEquals(single.corks, []);
});

Deno.test("the socket is uncorked when the peer closes, when all is sent, and when the timer is disposed", () => {
  const timer = new CorkTimer();
  const begin = () => {
    const line = new Line(timer);
    for (let sent = 0; sent < 2; sent++) line.buffer.send(MESSAGE);
    assertEquals(line.corks, [true]);
    return line;
  };
  const [closed, drained, left] = [begin(), begin(), begin()];
  closed.buffer.close();
  assertEquals(closed.corks, [true, false]);
  drained.write();
  drained.buffer.measure();
  assertEquals(drained.corks, [true, false]);
  timer[Symbol.dispose]();
  assertEquals(left.corks, [true, false]);
  assertEquals([...closed.corks, ...drained.corks], [true, false, true, false]);
});
