/**
 * The watchdog under load: how soon it ends a flood, and what it costs.
 * @alone
 */
import { assert, assertEquals } from "@std/assert";
import { dialUpgraded, skip, tryWrite } from "../../support/raw.ts";
import { testAuthority } from "../certificates.ts";
import { textFrame } from "../../support/frames.ts";
import { python, ServerProcess, WATCHDOG } from "../process.ts";

const { ca, issue } = await testAuthority();
const tls = await issue("1a00");

/** Echoes over one connection until told to stop; the times that it took. */
function steady(connection: Deno.Conn): { stop(): Promise<number[]> } {
  let going = true;
  const times: number[] = [];
  const done = (async () => {
    while (going) {
      const began = performance.now();
      if (!await tryWrite(connection, textFrame("hi"))) throw new Error("an honest connection was ended");
      await skip(connection, 4);
      times.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    connection.close();
    return times;
  })();
  // Whoever waits for it hears of it; until then it must not end the test's process.
  done.catch(() => {});
  return {
    stop() {
      going = false;
      return done;
    },
  };
}

for (const kind of ["pongs", "empty"] as const) {
  Deno.test(`a flood of ${kind} that blocks the event loop is closed; other connections continue`, async () => {
    await using server = await ServerProcess.start({ tls, watchdog: WATCHDOG });
    const bystanders = [];
    for (let count = 0; count < 5; count++) bystanders.push(steady(await dialUpgraded({ port: server.port, ca })));
    const flood = JSON.parse(await python("./flood.py", server.port, "tls", kind, 20)) as {
      cut: boolean;
      after: number;
    };
    // Half a second on a quiet machine; without the watchdog it lasts all twenty.
    assert(flood.cut && flood.after < 10, JSON.stringify(flood));
    for (const bystander of bystanders) {
      const times = (await bystander.stop()).toSorted((one, other) => one - other);
      assert(times[Math.floor(times.length / 2)]! < 100, `median ${times[times.length >> 1]} ms`);
      assert(times.at(-1)! < 10_000, `worst ${times.at(-1)} ms`);
    }
    const { reasons } = await server.settle((stat) => stat.reasons.length > 0);
    assertEquals(reasons.length, 1);
    assert(["flood", "payload"].includes(reasons[0]!), reasons[0]);
  });
}

Deno.test("the watchdog uses little CPU with 4,000 connections, and closes none of them", async () => {
  await using server = await ServerProcess.start({ watchdog: WATCHDOG });
  const count = Math.min(4_000, Math.floor(server.started.limit * 0.45));
  const connections: Deno.Conn[] = [];
  while (connections.length < count) {
    const batch = Math.min(200, count - connections.length);
    connections.push(...await Promise.all(Array.from({ length: batch }, () => dialUpgraded({ port: server.port }))));
  }
  const before = await server.settle((stat) => stat.sockets === count);
  const began = performance.now();
  // Each scan is followed by a pause of 250 times its length.
  const after = await server.settle((stat) => stat.watchdog!.fullScans >= before.watchdog!.fullScans + 2, 60_000);
  const share = (after.watchdog!.scanMicroseconds - before.watchdog!.scanMicroseconds) /
    ((performance.now() - began) * 1000);
  assertEquals(after.sockets, count);
  // 0.4 % for each of two kinds of scan; 5 % while a busy machine makes the loop look as if it stood still.
  assert(share < 0.08, `${(share * 100).toFixed(2)} % of a core`);
  for (const connection of connections) connection.close();
  assertEquals((await server.settle((stat) => stat.sockets === 0)).sockets, 0);
});
