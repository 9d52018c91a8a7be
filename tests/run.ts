/**
 * The test command: `deno task test`. It checks format, lint, documentation and types, then runs the examples of the
 * documentation and every test, each part under its heading. The last line counts passed, failed and skipped tests.
 * With paths as arguments it runs only those tests: `deno task test tests/ws`. A file that measures time or memory has
 * `@alone` in its first comment, and runs after the others.
 * @module
 */
import { join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** The number of tests by result. */
interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The result of one part: its counts, and the names of the failed and skipped tests. */
interface Outcome extends Counts {
  readonly failures: readonly string[];
  readonly skips: readonly string[];
}

/** A run of `deno`. */
interface Part {
  readonly args: readonly string[];
  /** Whether the part is a run of `deno test`, which counts its tests. Any other part counts as one test. */
  readonly tests: boolean;
  /** The text of the heading. Default: the arguments. */
  readonly shown?: string;
  readonly cwd?: string;
}

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** A part that takes longer is killed, because it hangs; ms. */
const LIMIT = 30 * 60_000;

/** The arguments of a test run: all permissions, and only the versions in deno.lock. */
const TEST = ["test", "-A", "--frozen"];

async function main(args: readonly string[]): Promise<number> {
  if (args.some((arg) => arg === "--help" || arg === "-h")) {
    print(
      "deno task test [PATH…]\n  Runs the tests in files or folders. Without a path, runs everything that CI runs.\n",
    );
    return 0;
  }
  const missing = args.filter((path) => !exists(path));
  if (missing.length > 0) {
    print(`Cannot run tests in ${missing.join(", ")}: no such file or folder in the project\n`);
    return 2;
  }
  const total: Counts = { passed: 0, failed: 0, skipped: 0 };
  const failures: string[] = [];
  const skips: string[] = [];
  // The examples create a development certificate. They run in another folder to leave none in the source tree.
  const elsewhere = await Deno.makeTempDir({ prefix: "wss-examples-" });
  try {
    for (const part of args.length > 0 ? testsIn(args) : everything(elsewhere)) {
      const outcome = await run(part);
      total.passed += outcome.passed;
      total.failed += outcome.failed;
      total.skipped += outcome.skipped;
      failures.push(...outcome.failures);
      skips.push(...outcome.skips);
    }
  } finally {
    await Deno.remove(elsewhere, { recursive: true });
  }
  heading("result");
  for (const name of skips) print(`skipped: ${name}\n`);
  for (const name of failures) print(`FAILED: ${name}\n`);
  print(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped\n`);
  return total.failed === 0 ? 0 : 1;
}

function everything(elsewhere: string): Part[] {
  return [
    { args: ["fmt", "--check"], tests: false },
    { args: ["lint"], tests: false },
    { args: ["doc", "--lint", "lib/mod.ts"], tests: false },
    { args: ["check", "--frozen", "main.ts", "lib", "tests"], tests: false },
    {
      args: [
        ...TEST,
        "--parallel",
        "--preload",
        join(ROOT, "tests/support/preload_ffi.ts"),
        "--doc",
        "--config",
        join(ROOT, "deno.json"),
        ...withExamples(),
      ],
      tests: true,
      cwd: elsewhere,
    },
    ...testsIn(["tests"]),
  ];
}

/** The files that run in parallel, then the files that run alone. */
function testsIn(paths: readonly string[]): Part[] {
  const files = paths.flatMap((path) => filesIn(path)).filter((path) => /[_.]test\.ts$/.test(path));
  const alone = files.filter((path) => /^\/\*\*[^]*?@alone\b[^]*?\*\//.test(headOf(path)));
  const beside = files.filter((path) => !alone.includes(path));
  return [
    { args: [...TEST, "--parallel", ...beside], shown: `--parallel ${paths.join(" ")}`, count: beside.length },
    { args: [...TEST, ...alone], shown: alone.join(" "), count: alone.length },
  ].flatMap(({ args, shown, count }) => count > 0 ? [{ args, shown: [...TEST, shown].join(" "), tests: true }] : []);
}

/** The start of a file, which contains its first comment. */
function headOf(path: string): string {
  return Deno.readTextFileSync(join(ROOT, path)).slice(0, 1000).split("*/", 1)[0] + "*/";
}

function exists(path: string): boolean {
  try {
    Deno.statSync(resolve(ROOT, path));
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/** A file, or all files below a folder. Paths are relative to the root. */
function filesIn(path: string): string[] {
  const whole = resolve(ROOT, path);
  if (Deno.statSync(whole).isFile) return [relative(ROOT, whole)];
  return [...Deno.readDirSync(whole)].flatMap(({ name, isFile, isDirectory }) =>
    isFile ? [relative(ROOT, join(whole, name))] : isDirectory ? filesIn(join(whole, name)) : []
  ).sort();
}

/** The files that contain TypeScript examples. */
function withExamples(): string[] {
  return [...filesIn("lib"), "README.md"]
    .filter((path) => /\.(ts|md)$/.test(path))
    .map((path) => join(ROOT, path))
    .filter((path) => Deno.readTextFileSync(path).includes("```ts"));
}

async function run({ args, tests, shown = args.join(" ").replaceAll(ROOT, ""), cwd = ROOT }: Part): Promise<Outcome> {
  heading(`deno ${shown}`);
  const child = new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd,
    env: Deno.stdout.isTerminal() ? {} : { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let late = false;
  const timer = setTimeout(() => {
    late = true;
    child.kill("SIGKILL");
  }, LIMIT);
  const output = await passOn(child.stdout);
  const { success, code, signal } = await child.status;
  clearTimeout(timer);

  const outcome = tests
    ? countTests(output)
    : { passed: Number(success), failed: 0, skipped: 0, skips: [], failures: [] };
  if (success || outcome.failed > 0) return outcome;
  // The run failed without a failed test: a module did not load, or the run hung.
  const why = late ? `took more than ${LIMIT / 60_000} minutes` : signal ? `ended by ${signal}` : `exit code ${code}`;
  return { ...outcome, failed: 1, failures: [`deno ${shown}: ${why}`] };
}

/** Prints the output as it arrives, and returns all of it. */
async function passOn(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    writeAll(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Parses the output of `deno test`: the counts in its last line, and the names of failed and ignored tests. */
export function countTests(output: string): Outcome {
  // deno-lint-ignore no-control-regex -- the colours of a terminal
  const lines = output.replace(/\x1b\[[0-9;]*m/g, "").split("\n");
  const summary = lines.findLast((line) => SUMMARY.test(line));
  const [, passed = "0", failed = "0", skipped = "0"] = SUMMARY.exec(summary ?? "") ?? [];
  const begin = lines.lastIndexOf(" FAILURES ");
  const failures = begin < 0
    ? []
    : lines.slice(begin + 1).filter((line) => / => .*:\d+:\d+$|\(uncaught error\)$/.test(line));
  const skips = lines.flatMap((line) => /^(.+) \.\.\. ignored(?: \(.*\))?$/.exec(line)?.[1] ?? []);
  return { passed: Number(passed), failed: Number(failed), skipped: Number(skipped), failures, skips };
}

const SUMMARY =
  /^(?:ok|FAILED) \| (\d+) passed(?: \(\d+ steps?\))? \| (\d+) failed(?: \(\d+ steps?\))?(?: \| (\d+) ignored(?: \(\d+ steps?\))?)?/;

function heading(text: string): void {
  print(`\n=== ${text}\n`);
}

function print(text: string): void {
  writeAll(new TextEncoder().encode(text));
}

function writeAll(bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += Deno.stdout.writeSync(bytes.subarray(written));
}

if (import.meta.main) Deno.exit(await main(Deno.args));
