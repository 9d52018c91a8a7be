// The clients of NATS and Redis are downloaded only when --broker chooses one.
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "../support/program.ts";

const CLIENTS = ["@nats-io", "@redis"];

/** Runs the program with an empty cache, and returns the scopes and packages that it downloads. */
async function downloads(...args: readonly string[]): Promise<string[]> {
  const cache = await Deno.makeTempDir({ prefix: "wss-cache-" });
  try {
    await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--config", join(ROOT, "deno.json"), "--frozen", join(ROOT, "main.ts"), ...args],
      env: { DENO_DIR: cache },
      cwd: cache,
      stdout: "null",
      stderr: "null",
    }).output();
    const registries = Array.from(Deno.readDirSync(join(cache, "npm")), ({ name }) => name);
    return Array.from(Deno.readDirSync(join(cache, "npm", registries[0]!)), ({ name }) => name);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
}

Deno.test("downloads a broker's client only with --broker, and only that one", async () => {
  const without = await downloads("--version");
  assert(without.includes("jose"), without.join());
  assertEquals(without.filter((name) => CLIENTS.includes(name)), []);
  const [nats, redis] = await Promise.all(
    ["nats", "redis"].map((scheme) => downloads("--broker", `${scheme}://127.0.0.1:1`)),
  );
  assertEquals([nats, redis].map((names) => names!.filter((name) => CLIENTS.includes(name))), [["@nats-io"], [
    "@redis",
  ]]);
});
