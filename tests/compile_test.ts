/** `deno task compile`: the file contains all parts, and works alone if Deno's runtime for it can be downloaded. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Buffer } from "node:buffer";
import { join } from "node:path";
import project from "../deno.json" with { type: "json" };
import { Client } from "./support/client.ts";
import { makeFolder, ROOT, runProgram, startProgram } from "./support/program.ts";

/** Runs the task's command with another output file. Returns undefined if denort cannot be downloaded. */
async function compile(output: string, env: Record<string, string> = {}): Promise<string | undefined> {
  const [deno, ...args] = project.tasks.compile.split(" ");
  assertEquals(deno, "deno");
  args[args.indexOf("--output") + 1] = output;
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args,
    cwd: ROOT,
    env: { NO_COLOR: "1", ...env },
    stdout: "null",
    stderr: "piped",
  }).output();
  const said = new TextDecoder().decode(stderr);
  if (success) return said;
  assertMatch(said, /denort|dl\.deno\.land/, said);
  return undefined;
}

/** Files that the program loads without a static import: the page, the apps, the library, workers and brokers. */
const NEEDED = /lib\/(http\/test_page\.\w+|apps\/\w+\.ts|mod\.ts|.*worker\.ts|hub\/brokers\/\w+\.ts)$/;

/** Yields the path of every file below a folder. */
function* files(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (isDirectory) yield* files(join(folder, name));
    else yield join(folder, name);
  }
}

Deno.test("the compiled program", async (t) => {
  const folder = await makeFolder();
  const binary = join(folder, "wss");
  try {
    const first = await compile(binary);
    const whole = first !== undefined;
    // Deno replaces its smaller runtime: the file is complete, but it is not a usable program.
    const said = first ?? await compile(binary, { DENORT_BIN: Deno.execPath() }) ?? "";
    // A line of the list contains a name and a size: `├── lib/* (1MB)`. The list does not name every file.
    const listed = said.split("\n").flatMap((line) => /[─┬] (\S+?)(?:\/[\d.]+)?(?:\/\*)? \(/.exec(line)?.[1] ?? []);

    await t.step("page, apps, version, library and workers are embedded", async () => {
      const bytes = Buffer.from(await Deno.readFile(binary));
      const from = whole ? 0 : (await Deno.stat(Deno.execPath())).size;
      const inLib = [...files(join(ROOT, "lib"))].filter((file) => NEEDED.test(file));
      assert(inLib.length >= 8, inLib.join("\n"));
      for (const file of [...inLib, join(ROOT, "deno.json"), join(ROOT, "main.ts")]) {
        assert(bytes.indexOf(await Deno.readFile(file), from) >= 0, `${file} is not in the compiled file`);
      }
      for (const name of ["main.ts", "deno.json", "lib"]) assert(listed.includes(name), `${name} in\n${said}`);
    });

    await t.step("tests, certificates and packages for tests only are not embedded", () => {
      for (const name of ["tests", "certs", "playwright-core", "crossws"]) {
        assert(!listed.includes(name), `${name} in\n${said}`);
      }
      assert(!/ ws\/\d/.test(said), said);
      assert(listed.includes("jose"), said);
      for (const name of ["@redis/client", "nats-core"]) assert(said.includes(`── ${name}/`), said);
    });

    if (!whole) {
      // deno-lint-ignore no-console -- a skipped test must be visible
      console.warn("SKIPPED: running the compiled program (denort cannot be downloaded here)");
      return;
    }
    await t.step("it serves without the source tree, with certs/ in the working directory", async () => {
      const empty = join(folder, "empty");
      await Deno.mkdir(empty);
      assertMatch(
        (await runProgram(["--version"], { binary, folder: empty })).stdout,
        new RegExp(`^wss ${project.version} `),
      );
      await using program = await startProgram(["--app", "echo"], { binary, folder: empty });
      await using client = await Client.open(program.url, { ca: program.ca });
      assertEquals(await client.ask("tom"), "tom");
      const http = Deno.createHttpClient({ caCerts: [await Deno.readTextFile(program.ca)] });
      const response = await fetch(program.http(), { client: http });
      assertEquals(await response.text(), await Deno.readTextFile(join(ROOT, "lib/http/test_page.html")));
      http.close();
    });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
