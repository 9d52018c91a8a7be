import { assert, assertEquals } from "@std/assert";
import { whenReached } from "../../lib/auth/token_expiry.ts";

/** Resolves with the name of the first time that is reached. */
async function firstReached(moments: Readonly<Record<string, number>>, longest?: number): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const alive = setInterval(() => {}, 1_000);
  const watches = Object.entries(moments).map(([name, at]) => whenReached(at, () => resolve(name), longest));
  const first = await promise;
  for (const watch of watches) watch[Symbol.dispose]();
  clearInterval(alive);
  return first;
}

Deno.test("calls back when the time is reached, and not before", async () => {
  const at = Date.now() + 30;
  assertEquals(await firstReached({ at }), "at");
  assert(Date.now() >= at);
});

Deno.test("calls back at once for a time in the past", async () => {
  assertEquals(await firstReached({ past: Date.now() - 10_000 }), "past");
});

Deno.test("does not call back early for a time beyond the maximum of a timer", async () => {
  const soon = Date.now() + 100;
  const moments = { far: Date.now() + 2 ** 31, farther: Date.now() + 2 ** 45, never: Infinity, soon };
  assertEquals(await firstReached(moments), "soon");
});

Deno.test("starts the timer again if it ends before the time", async () => {
  const moments = { far: Date.now() + 3_600_000, soon: Date.now() + 100 };
  assertEquals(await firstReached(moments, 5), "soon");
});

Deno.test("does not call back after it is disposed of", async () => {
  const gone = whenReached(Date.now() + 10, () => {
    throw new Error("disposed");
  });
  gone[Symbol.dispose]();
  assertEquals(await firstReached({ later: Date.now() + 60 }), "later");
});
