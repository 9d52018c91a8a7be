import { assertEquals } from "@std/assert";
import { State } from "../../../lib/net/watchdog/connection_table.ts";
import {
  connectionsToClose,
  type IdleConnection,
  requiredFreeDescriptors,
} from "../../../lib/net/watchdog/descriptor_shortage.ts";

const LIMIT = 1_024;
const SHORT = 64;
const NOW = 100_000;

function idle(count: number, state: number, since: (index: number) => number): IdleConnection[] {
  return Array.from({ length: count }, (_, index) => ({ fd: 100 + index, state, since: since(index) }));
}

Deno.test("descriptors are short below a sixteenth of the limit, within bounds", () => {
  assertEquals([64, 128, LIMIT, 1 << 20].map(requiredFreeDescriptors), [16, 16, SHORT, 1_024]);
});

Deno.test("closes nothing while descriptors are available", () => {
  assertEquals(connectionsToClose(idle(900, State.none, () => 0), SHORT, LIMIT, NOW), []);
});

Deno.test("closes the oldest connections without a request, until a quarter of the limit is free", () => {
  // In the table the youngest come first.
  const silent = idle(900, State.none, (index) => NOW - index);
  const closed = connectionsToClose(silent, 10, LIMIT, NOW);
  assertEquals(closed.length, 4 * SHORT - 10);
  assertEquals(closed[0], silent.at(-1));
  assertEquals(closed.at(-1)!.since, NOW - 899 + closed.length - 1);
});

Deno.test("keeps the newest connections, which may be about to make a request", () => {
  const closed = connectionsToClose(idle(20, State.none, (index) => index), 0, LIMIT, NOW);
  assertEquals(closed.map(({ since }) => since), [0, 1, 2, 3]);
  assertEquals(connectionsToClose(idle(16, State.none, () => 0), 0, LIMIT, NOW), []);
});

Deno.test("then closes idle connections with an old request, never with a recent one", () => {
  const silent = idle(20, State.none, () => NOW);
  const kept = idle(30, State.request, (index) => NOW - 3_000 + index);
  const slow = idle(30, State.body, (index) => NOW - 5_000 + index);
  const fresh = idle(30, State.request, () => NOW - 500);
  const closed = connectionsToClose([...fresh, ...kept, ...silent, ...slow], 0, LIMIT, NOW);
  assertEquals(closed, [...silent.slice(0, 4), ...slow, ...kept]);
});
