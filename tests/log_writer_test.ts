import { assert, assertEquals, assertMatch } from "@std/assert";
import { LineWriter } from "../lib/log_writer.ts";
import { until } from "./support/until.ts";

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

/** A file on a disk that is full while `full` is set: the write that fails may have written a part before. */
function smallDisk() {
  const disk = { full: true, text: "", failures: 0, space: 0, write, writeSync };
  function writeSync(bytes: Uint8Array): number {
    const written = disk.full ? bytes.subarray(0, disk.space) : bytes;
    if (written.length === 0) {
      disk.failures++;
      using device = Deno.openSync("/dev/full", { write: true });
      return device.writeSync(bytes);
    }
    disk.space -= written.length;
    disk.text += decoder.decode(written);
    return written.length;
  }
  async function write(bytes: Uint8Array): Promise<number> {
    await turn();
    return writeSync(bytes);
  }
  return disk;
}

Deno.test("when a full disk has space again, the log continues: no line is cut or written twice, dropped ones are counted", async () => {
  const disk = smallDisk();
  disk.space = 10;
  const writer = new LineWriter({ ...disk, limit: 100 });
  writer.write("first line", summary);
  writer.write("second line", summary);
  await until(() => disk.failures >= 2);
  assert(disk.failures >= 2, `${disk.failures}`);
  assertEquals(disk.text, "first line");
  for (let index = 10; index < 40; index++) writer.write(`line ${index}`, summary);
  disk.full = false;
  assertEquals(await writer.flush(), true);
  const kept = Array.from({ length: 12 }, (_, index) => `line ${index + 10}`);
  assertEquals(disk.text.trimEnd().split("\n"), ["first line", "second line", ...kept, "dropped 18"]);
  writer.write("later", summary);
  assertEquals(await writer.flush(), true);
  assert(disk.text.endsWith("dropped 18\nlater\n"), disk.text);
});

Deno.test("while the disk is full, flush ends after a second, and an exit does not wait", async () => {
  const disk = smallDisk();
  const writer = new LineWriter(disk);
  writer.write("one", summary);
  const began = performance.now();
  assertEquals(await writer.flush(), false);
  const flushed = performance.now();
  writer.flushSync();
  assert(performance.now() - flushed < 900, `${performance.now() - flushed} ms`);
  assert(flushed - began > 900 && flushed - began < 4_500, `${flushed - began} ms`);
  disk.full = false;
  assertEquals(await writer.flush(), true);
  assertEquals(disk.text, "one\n");
});

Deno.test("an exit waits for a full non-blocking pipe whose reader continues, and a second for one that has stopped", async () => {
  let text = "";
  let refusals = 5;
  const writeSync = (bytes: Uint8Array) => {
    if (refusals-- > 0) throw new Deno.errors.WouldBlock("full");
    text += decoder.decode(bytes.subarray(0, 4));
    return Math.min(bytes.length, 4);
  };
  const writer = new LineWriter({ write: (bytes) => turn().then(() => writeSync(bytes)), writeSync });
  writer.write("one", summary);
  writer.write("two", summary);
  writer.flushSync();
  assertEquals(text, "one\ntwo\n");
  await writer.flush();

  refusals = Infinity;
  writer.write("three", summary);
  const began = performance.now();
  writer.flushSync();
  const took = performance.now() - began;
  assert(took > 900 && took < 4_500, `${took} ms`);
  refusals = 0;
  await writer.flush();
  assertEquals(text, "one\ntwo\nthree\n");
});

const LOG = JSON.stringify(new URL("../lib/log.ts", import.meta.url).href);
const LOG_WRITER = JSON.stringify(new URL("../lib/log_writer.ts", import.meta.url).href);

/** Runs a program that prints `ready` and waits for a byte. Reads its standard error only then, and returns the lines. */
async function readLate(program: string, args: readonly string[], ready: string): Promise<readonly string[]> {
  const child = new Deno.Command(program, { args: [...args], stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const { value } = await child.stdout.pipeThrough(new TextDecoderStream()).getReader().read();
  assertEquals(value, `${ready}\n`);
  const stderr = new Response(child.stderr).text();
  const stdin = child.stdin.getWriter();
  await stdin.write(new Uint8Array([1]));
  await stdin.close();
  const lines = (await stderr).trimEnd().split("\n");
  assertEquals((await child.status).code, 0);
  return lines;
}

Deno.test("an unread log does not block the event loop, and later reports the number of dropped lines", async () => {
  // A flush gives up if nobody reads.
  const script = `import { createLogger } from ${LOG};
    import { flushStderr } from ${LOG_WRITER};
    const log = createLogger({ format: "json" });
    for (let index = 0; index < 20; index++) {
      for (let line = 0; line < 1_000; line++) log.info("line", { padding: "x".repeat(100) });
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    console.log("the loop turned");
    await Deno.stdin.read(new Uint8Array(1));
    while (!await flushStderr());
    log.info("last");
    while (!await flushStderr());
    Deno.exit(0);`;
  // A blocking write to standard error would prevent the output that the test waits for.
  const lines = (await readLate(Deno.execPath(), ["eval", "--no-config", script], "the loop turned"))
    .map((line) => JSON.parse(line));
  const written = lines.filter(({ message }) => message === "line").length;
  const [summary, ...more] = lines.filter(({ level }) => level === "warn");
  assertMatch(summary.message, /^log lines were dropped/);
  assertEquals(more, []);
  assertEquals(written + summary.lines, 20_000);
  assert(written > 1_000 && written < 19_000, `${written} written`);
  assertEquals(lines.at(-1).message, "last");
});

Deno.test("a pipe that another process made non-blocking loses no line", async () => {
  // If the pause is too short, the pipe is not yet full, and the test shows less.
  const script = `import { createLogger } from ${LOG};
    import { flushStderr } from ${LOG_WRITER};
    const log = createLogger();
    for (let line = 0; line < 3_000; line++) log.info("line", { line, padding: "x".repeat(100) });
    await new Promise((resolve) => setTimeout(resolve, 300));
    console.log("the pipe is full");
    await Deno.stdin.read(new Uint8Array(1));
    while (!await flushStderr());
    Deno.exit(0);`;
  const setFlag = "import fcntl, os; fcntl.fcntl(2, fcntl.F_SETFL, fcntl.fcntl(2, fcntl.F_GETFL) | os.O_NONBLOCK)";
  const shell = ["-c", `/usr/bin/python3 -c '${setFlag}' && exec "$@"`, "sh"];
  const lines = await readLate("sh", [...shell, Deno.execPath(), "eval", "--no-config", script], "the pipe is full");
  const numbers = lines.map((line) => Number(/ line=(\d+) padding=x{100}$/.exec(line)?.[1]));
  assertEquals(numbers, Array.from({ length: 3_000 }, (_, index) => index));
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
