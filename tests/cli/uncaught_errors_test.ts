/** Uncaught errors in the real program: an error in a promise that an app does not await closes no connection. */
import { assert, assertEquals } from "@std/assert";
import { Client } from "../support/client.ts";
import { startProgram } from "../support/program.ts";

const APP = `
const wrong = {
  reject: () => void Promise.reject(new Error("floating")),
  timer: () => void setTimeout(() => { throw new TypeError("timer"); }),
  microtask: () => queueMicrotask(() => { throw new RangeError("microtask"); }),
  nothing: () => void Promise.reject(Object.create(null)),
  undefined: () => void Promise.reject(undefined),
  stack: () => {
    const error = new Error("hidden");
    Object.defineProperty(error, "stack", { get() { throw new Error("getter"); } });
    Promise.reject(error);
  },
  proxy: () => void Promise.reject(new Proxy({}, { get() { throw 1; }, getPrototypeOf() { throw 2; } })),
};
Promise.reject(new Error("at import"));
export default {
  message(peer, message) {
    wrong[message.text()]?.();
    peer.send("ok");
  },
};`;

Deno.test("uncaught errors are logged with stack and count, and all clients stay connected", async () => {
  await using program = await startProgram(["--app", "./app.ts", "--log-format", "json"], { files: { "app.ts": APP } });
  await program.stderr.until(/"cause":"at import"/);
  await using other = await Client.open(program.url, { ca: program.ca });
  await using client = await Client.open(program.url, { ca: program.ca });
  for (
    const [what, logged] of [
      ["reject", /"cause":"floating","count":\d+,"error":"Error: floating\\n +at /],
      ["timer", /"cause":"timer","count":\d+,"error":"TypeError: timer\\n +at /],
      ["microtask", /"cause":"microtask","count":\d+,"error":"RangeError: microtask\\n +at /],
      ["nothing", /"cause":"a value that cannot be converted to text \(object\)"/],
      ["undefined", /"cause":"undefined"/],
      ["stack", /"cause":"hidden","count":\d+,"error":"hidden"/],
      ["proxy", /"count":8,"error":"a value that cannot be converted to text \(object\)"/],
    ] as const
  ) {
    assertEquals(await client.ask(what), "ok", what);
    await program.stderr.until(logged);
  }
  // Repeated errors are summarised.
  for (let time = 0; time < 20; time++) assertEquals(await client.ask("reject"), "ok");
  assertEquals(await other.ask("tom"), "ok");
  const { code, stderr } = await program.stop();
  assertEquals(code, 0);
  // Five lines of each interval, and the number of the others.
  const lines = stderr.trim().split("\n").map((line) => JSON.parse(line));
  const floating = lines.filter(({ cause }) => cause === "floating");
  const more = floating.map(({ message }) => Number(/: and (\d+) more/.exec(message)?.[1] ?? 0));
  assertEquals(more.reduce((sum, count) => sum + (count || 1), 0), 21, stderr);
  assert(more.some((count) => count > 0) && more.length < 21, stderr);
});
