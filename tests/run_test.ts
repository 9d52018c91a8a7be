/** The counts of the test command, for real runs of `deno test`. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const RUN = fileURLToPath(new URL("run.ts", import.meta.url));
const PEERS = new URL("peers/require.ts", import.meta.url).href;

async function run(files: Record<string, string>, env: Record<string, string> = {}) {
  const folder = await Deno.makeTempDir({ prefix: "wss-run-" });
  try {
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(join(folder, name), text);
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", RUN, folder],
      env: { WSS_TEST_PEERS: "", ...env },
      stderr: "null",
    }).output();
    const lines = new TextDecoder().decode(stdout).split("\n");
    assertEquals(lines.pop(), "");
    return { code, last: lines.pop(), lines };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const GOOD = 'Deno.test("a", () => {});\nDeno.test("b", async (t) => void await t.step("c", () => {}));\n';

Deno.test("the last line counts passed tests without their steps, and the exit code is 0", async () => {
  const { code, last } = await run({ "one_test.ts": GOOD, "two_test.ts": GOOD, "no_tests.ts": "throw 1;" });
  assertEquals([code, last], [0, "4 passed, 0 failed, 0 skipped"]);
});

Deno.test("failures, including leaks, are counted and named; the exit code is 1; the output of a test is not counted", async () => {
  const { code, last, lines } = await run({
    "bad_test.ts": `${GOOD}
      Deno.test("wrong", () => { throw new Error("x"); });
      Deno.test("leak", () => void setTimeout(() => {}, 1e6));
      Deno.test("loud", () => console.log("ok | 99 passed | 0 failed (1ms)\\n5 passed, 5 failed, 5 skipped"));
      Deno.test.ignore("left out", () => {});`,
  });
  assertEquals([code, last], [1, "3 passed, 2 failed, 1 skipped"]);
  const named = lines.filter((line) => /^(FAILED|skipped): /.test(line)).map((line) => line.replace(/ => .*/, ""));
  assertEquals(named.filter((line) => line.startsWith("FAILED")), ["FAILED: wrong", "FAILED: leak"]);
  assertEquals(named.filter((line) => line.startsWith("skipped")).length, 1);
});

Deno.test("a module that does not load is one failure", async () => {
  const { code, last, lines } = await run({ "one_test.ts": GOOD, "broken_test.ts": "const x: number = 'text';" });
  assertEquals([code, last], [1, "0 passed, 1 failed, 0 skipped"]);
  assert(lines.some((line) => /^FAILED: deno test .*: exit code 1$/.test(line)));
});

Deno.test("files marked @alone run after the others", async () => {
  const { last, lines } = await run({
    "a_test.ts": `/** Measures.\n * @alone\n */\n${GOOD}`,
    "b_test.ts": `${GOOD}// @alone, but not at its head`,
  });
  assertEquals(last, "4 passed, 0 failed, 0 skipped");
  const headings = lines.filter((line) => line.startsWith("=== deno test"));
  assertEquals(headings.length, 2);
  assertMatch(headings[0]!, /--parallel /);
  assertMatch(headings[1]!, /(?<!--parallel.*)a_test\.ts$/);
});

Deno.test("a missing peer program is reported as skipped, or as a failure if peers are required", async () => {
  const files = {
    "peer_test.ts": `import { peerTest } from ${JSON.stringify(PEERS)};
      peerTest(["deno", "no-such-program"], "with a peer", () => {});
      peerTest("deno", "with Deno", () => {});`,
  };
  const absent = await run(files, { PATH: `${Deno.env.get("PATH")}:${join(Deno.execPath(), "..")}` });
  assertEquals([absent.code, absent.last], [0, "1 passed, 0 failed, 1 skipped"]);
  assert(absent.lines.some((line) => /^skipped: .*with a peer \[no-such-program is not installed/.test(line)));
  const required = await run(files, { WSS_TEST_PEERS: "required" });
  assertEquals([required.code, required.last], [1, "1 passed, 1 failed, 0 skipped"]);
  assert(required.lines.some((line) => /^FAILED: with a peer \[no-such-program is not installed/.test(line)));
});
