import { assert, assertEquals, assertMatch } from "@std/assert";
import { LineWriter } from "../lib/log_writer.ts";

const decoder = new TextDecoder();
const summary = (dropped: number) => `dropped ${dropped}`;

/** A sink whose writes end when the test calls `step`. */
function slowSink() {
  let text = "";
  let proceed: (() => void) | undefined;
  return {
    get text() {
      return text;
    },
    /** Ends the current write. */
    step: () => proceed?.(),
    get writing() {
      return proceed !== undefined;
    },
    write: async (bytes: Uint8Array) => {
      await new Promise<void>((resolve) => proceed = resolve);
      proceed = undefined;
      text += decoder.decode(bytes);
      return bytes.length;
    },
    writeSync(bytes: Uint8Array) {
      text += decoder.decode(bytes);
      return bytes.length;
    },
  };
}

/** Lets microtasks run. */
const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

async function drain(sink: ReturnType<typeof slowSink>): Promise<void> {
  for (await turn(); sink.writing; await turn()) sink.step();
}

Deno.test("lines of one turn of the event loop are written together and in order, and flush waits for them", async () => {
  const sink = slowSink();
  const writer = new LineWriter(sink);
  for (const line of ["one", "two", "three"]) writer.write(line, summary);
  const flushed = writer.flush();
  await turn();
  sink.step();
  assertEquals(await flushed, true);
  assertEquals(sink.text, "one\ntwo\nthree\n");
});

Deno.test("drops lines that do not fit, and logs their number when the reader has caught up", async () => {
  const sink = slowSink();
  const writer = new LineWriter({ ...sink, write: sink.write, limit: 100 });
  writer.write("first", summary);
  await turn();
  for (let index = 10; index < 40; index++) writer.write(`line ${index}`, summary);
  await drain(sink);
  writer.write("after", summary);
  await drain(sink);
  const lines = sink.text.trimEnd().split("\n");
  assertEquals([lines[0], lines.at(-1)], ["first", "after"]);
  const kept = lines.filter((line) => line.startsWith("line "));
  assertEquals(kept, Array.from({ length: kept.length }, (_, index) => `line ${index + 10}`));
  assert(kept.length * 8 <= 100 && kept.length >= 12, sink.text);
  assertEquals(lines.at(-2), `dropped ${30 - kept.length}`);
  assertEquals(lines.length, kept.length + 3);
});

Deno.test("writes a line longer than the limit if the buffer is empty", async () => {
  const sink = slowSink();
  const writer = new LineWriter({ ...sink, write: sink.write, limit: 10 });
  writer.write("x".repeat(50), summary);
  await drain(sink);
  assertEquals(sink.text, "x".repeat(50) + "\n");
});

Deno.test("if the reader has stopped, flush ends after a second, and an exit does not wait", async () => {
  const sink = slowSink();
  const writer = new LineWriter(sink);
  writer.write("stuck", summary);
  await turn();
  const began = performance.now();
  assertEquals(await writer.flush(), false);
  const took = performance.now() - began;
  assert(took > 900, `${took}`);
  writer.write("waiting", summary);
  writer.flushSync();
  assertEquals(sink.text, "");
  await drain(sink);
  assertEquals(sink.text, "stuck\nwaiting\n");
});

Deno.test("an exit writes the buffered lines", async () => {
  const sink = slowSink();
  const writer = new LineWriter(sink);
  writer.write("last words", summary);
  writer.flushSync();
  assertEquals(sink.text, "last words\n");
  await drain(sink);
  assertEquals(sink.text, "last words\n");
});

Deno.test("a closed standard error does not end the process", async () => {
  let writes = 0;
  const fail = () => {
    writes++;
    throw new Deno.errors.BrokenPipe("gone");
  };
  const writer = new LineWriter({ write: () => Promise.resolve().then(fail), writeSync: fail });
  writer.write("one", summary);
  await writer.flush();
  writer.write("two", summary);
  writer.flushSync();
  await turn();
  assertEquals(writes, 1);
});

const LOG = JSON.stringify(new URL("../lib/log.ts", import.meta.url).href);

Deno.test("an unread log does not block the event loop, and later reports the number of dropped lines", async () => {
  const script = `import { createLogger, flushLog } from ${LOG};
    const log = createLogger({ format: "json" });
    for (let index = 0; index < 20; index++) {
      for (let line = 0; line < 1_000; line++) log.info("line", { padding: "x".repeat(100) });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    console.log("the loop turned");
    await Deno.stdin.read(new Uint8Array(1));
    await flushLog();
    log.info("last");
    Deno.exit(0);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", script],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  try {
    // Standard error is still unread. A blocking write to it would prevent this output.
    const { value } = await child.stdout.pipeThrough(new TextDecoderStream()).getReader().read();
    assertEquals(value, "the loop turned\n");
    const stderr = new Response(child.stderr).text();
    const stdin = child.stdin.getWriter();
    await stdin.write(new Uint8Array([1]));
    await stdin.close();
    const lines = (await stderr).trimEnd().split("\n").map((line) => JSON.parse(line));
    const written = lines.filter(({ message }) => message === "line").length;
    const [summary, ...more] = lines.filter(({ level }) => level === "warn");
    assertMatch(summary.message, /^log lines were dropped/);
    assertEquals(more, []);
    assertEquals(written + summary.lines, 20_000);
    assert(written > 1_000 && written < 19_000, `${written} written`);
    assertEquals(lines.at(-1).message, "last");
  } finally {
    await child.status;
  }
});

Deno.test("a process with an unread log can exit", async () => {
  const script = `import { createLogger, flushLog } from ${LOG};
    const log = createLogger();
    for (let line = 0; line < 2_000; line++) log.info("line", { padding: "x".repeat(100) });
    await flushLog();
    Deno.exit(7);`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-config", script],
    stderr: "piped",
    stdout: "null",
  }).spawn();
  assertEquals((await child.status).code, 7);
  await child.stderr.cancel();
});

Deno.test("lines logged before Deno.exit are written, with and without a flush", async () => {
  const count = 500;
  for (const wait of ["", "await new Promise((resolve) => setTimeout(resolve));"]) {
    const script = `import { createLogger } from ${LOG};
      const log = createLogger();
      for (let line = 1; line <= ${count}; line++) log.info("line", { line });
      ${wait}
      Deno.exit(0);`;
    const { stderr } = await new Deno.Command(Deno.execPath(), { args: ["eval", "--no-config", script] }).output();
    const numbers = decoder.decode(stderr).trimEnd().split("\n").map((line) => Number(line.split("line=")[1]));
    assertEquals(numbers, Array.from({ length: count }, (_, index) => index + 1));
  }
});
