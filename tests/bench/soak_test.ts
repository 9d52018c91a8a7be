/**
 * A short soak; SOAK_SECONDS makes it longer, SOAK_SEED repeats one.
 */
import { assertEquals } from "@std/assert";
import { describeSoak, soak } from "./soak.ts";

Deno.test({
  name: "good peers lose nothing among bad ones, which leave nothing behind",
  ignore: Deno.build.os !== "linux",
  async fn() {
    const seconds = Number(Deno.env.get("SOAK_SECONDS") ?? 15);
    const seed = Number(Deno.env.get("SOAK_SEED") ?? Math.floor(Math.random() * 1e6));
    const result = await soak({ seconds, seed });
    assertEquals(result.problems, [], describeSoak(result));
  },
});
