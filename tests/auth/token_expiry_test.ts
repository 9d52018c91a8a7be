import { assert, assertEquals } from "@std/assert";
import { whenReached } from "../../lib/auth/token_expiry.ts";

/** Resolves with the name of the first moment that is reached. */
async function firstReached(moments: Readonly<Record<string, number>>, longest?: number): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  const alive = setInterval(() => {}, 1_000);
  const watches = Object.entries(moments).map(([name, at]) => whenReached(at, () => resolve(name), longest));
  const first = await promise;
  for (const watch of watches) watch[Symbol.dispose]();
  clearInterval(alive);
  return first;
}

Deno.test("a moment is reached when the clock says so, and not before", async () => {
  const at = Date.now() + 30;
  assertEquals(await firstReached({ at }), "at");
  assert(Date.now() >= at);
});

Deno.test("a moment in the past is reached at once", async () => {
  assertEquals(await firstReached({ past: Date.now() - 10_000 }), "past");
});

Deno.test("a moment beyond what a timer takes is not reached early", async () => {
  const soon = Date.now() + 100;
  const moments = { far: Date.now() + 2 ** 31, farther: Date.now() + 2 ** 45, never: Infinity, soon };
  assertEquals(await firstReached(moments), "soon");
});

Deno.test("a timer that ends before the moment is armed again", async () => {
  const moments = { far: Date.now() + 3_600_000, soon: Date.now() + 100 };
  assertEquals(await firstReached(moments, 5), "soon");
});

Deno.test("a watch that was disposed of says nothing", async () => {
  const gone = whenReached(Date.now() + 10, () => {
    throw new Error("disposed");
  });
  gone[Symbol.dispose]();
  assertEquals(await firstReached({ later: Date.now() + 60 }), "later");
});
