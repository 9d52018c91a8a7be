import { assertEquals, assertMatch } from "@std/assert";
import { createLogger, escapeControls, type LogOptions, silent } from "../lib/log.ts";

const NOW = new Date("2026-01-02T03:04:05.678Z");

function recorded(options: LogOptions) {
  const lines: string[] = [];
  return { lines, log: createLogger({ now: () => NOW, write: (line) => void lines.push(line), ...options }) };
}

/** Characters with which a client may forge log lines, control a terminal or reverse its text. */
const HOSTILE = "a\r\nb\x1b[31m\x00\x7f\x85\x9b\u2028\u2029\u202e\u2066\tc";

Deno.test("text format: time, level, message and fields, quoted only if necessary", () => {
  const { lines, log } = recorded({ format: "text" });
  log.info("refused", { status: 403, reason: "not this one", address: "192.0.2.1", ok: false, none: undefined });
  log.warn("plain");
  log.error("odd", { equals: "a=b", quote: 'say "x"', empty: "" });
  assertEquals(lines, [
    '2026-01-02T03:04:05.678Z info  refused status=403 reason="not this one" address=192.0.2.1 ok=false',
    "2026-01-02T03:04:05.678Z warn  plain",
    '2026-01-02T03:04:05.678Z error odd equals="a=b" quote="say \\"x\\"" empty=""',
  ]);
});

Deno.test("json format: one object per line with the logged values", () => {
  const { lines, log } = recorded({ format: "json" });
  log.info("refused", { status: 403, reason: HOSTILE, none: undefined });
  assertEquals(JSON.parse(lines[0]!), {
    time: "2026-01-02T03:04:05.678Z",
    level: "info",
    message: "refused",
    status: 403,
    reason: HOSTILE,
  });
});

Deno.test("client data cannot break a line or control the terminal, in both formats", () => {
  for (const format of ["text", "json"] as const) {
    const { lines, log } = recorded({ format });
    log.warn(HOSTILE, { reason: HOSTILE, short: "\x1b", zero: "\u202e" });
    assertEquals(lines.length, 1);
    // deno-lint-ignore no-control-regex -- asserts that they are absent
    assertEquals(/[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]/.test(lines[0]!), false, lines[0]);
    assertMatch(lines[0]!, /\\u001b\[31m/);
  }
  assertEquals(escapeControls("é😀 fine"), "é😀 fine");
  assertEquals(escapeControls("\n\u202e"), "\\u000a\\u202e");
});

Deno.test("a level enables itself and more severe levels", () => {
  const levels = ["error", "warn", "info", "debug"] as const;
  for (const [index, level] of levels.entries()) {
    const { lines, log } = recorded({ level, format: "json" });
    for (const each of levels) log[each](each);
    assertEquals(lines.map((line) => JSON.parse(line).level), levels.slice(0, index + 1));
    assertEquals(levels.map((each) => log.enabled(each)), levels.map((_, at) => at <= index));
  }
  assertEquals(silent.enabled("error"), false);
});

Deno.test("without a writer, lines go to standard error; a closed standard error does not end the process", async () => {
  const script = `import { createLogger, flushLog } from ${
    JSON.stringify(new URL("../lib/log.ts", import.meta.url).href)
  };
    createLogger({ now: () => new Date(0) }).info("here", { a: 1 });
    await flushLog();
    Deno.stderr.close();
    createLogger().error("there");
    console.log("alive");`;
  const { stdout, stderr, code } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", script],
    env: { NO_COLOR: "1" },
  }).output();
  assertEquals(new TextDecoder().decode(stderr), "1970-01-01T00:00:00.000Z info  here a=1\n");
  assertEquals([new TextDecoder().decode(stdout), code], ["alive\n", 0]);
});
