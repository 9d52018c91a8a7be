/**
 * A short soak test. SOAK_SECONDS sets its duration, SOAK_SEED repeats an earlier run.
 */
import { assertEquals } from "@std/assert";
import { describeSoak, soak } from "./soak.ts";

Deno.test({
  name: "good peers lose nothing while bad peers are connected, and nothing leaks",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const seconds = Number(Deno.env.get("SOAK_SECONDS") ?? 15);
    const seed = Number(Deno.env.get("SOAK_SEED") ?? Math.floor(Math.random() * 1e6));
    const result = await soak({ seconds, seed });
    assertEquals(result.problems, [], describeSoak(result));
  },
});
