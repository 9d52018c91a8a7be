/** deno.json: what `deno test` and `deno run` without `-A` may do, and what a first run downloads. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { dirname, join } from "node:path";
import project from "../deno.json" with { type: "json" };
import { ROOT, runProgram, startProgram } from "./support/program.ts";

/** Packages that lib/ imports, and only where an option asks for them. */
const OPTIONAL: readonly string[] = [];

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function deno(...args: string[]): Promise<Deno.CommandOutput> {
  return new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" }, stdin: "null" }).output();
}

Deno.test("deno test names -P, and runs with it", async () => {
  const without = await deno("test", "tests/ip_test.ts");
  assertEquals(without.code, 1);
  assertMatch(text(without.stderr), /^error: Test permissions were found .* `-P`/);
  assertMatch(
    text((await deno("test", "-P", "--no-check", "tests/ip_test.ts")).stdout),
    /^ok \| \d+ passed \| 0 failed/m,
  );
});

/** The name of the package that an entry of the import map or of the lock stands for. */
function packageOf(entry: string): string {
  return /^(?:npm:)?(@[^/@]+\/[^/@]+|[^/@]+)@/.exec(entry)![1]!;
}

/** Packages of the import map by whether lib/ imports them. */
async function importedPackages(): Promise<{ program: Set<string>; tests: Set<string> }> {
  const { stdout } = await new Deno.Command("grep", {
    args: ["-rhoE", "--include=*.ts", `(from|import\\(?) ?"[^".][^"]*"`, "lib", "main.ts"],
    cwd: ROOT,
  }).output();
  const named = new Set([...text(stdout).matchAll(/"([^"]+)"/g)].map((match) => match[1]!));
  const program = new Set<string>();
  const others = new Set<string>();
  for (const [name, target] of Object.entries(project.imports)) {
    if (target.startsWith("npm:")) (named.has(name) ? program : others).add(packageOf(target));
  }
  return { program, tests: others.difference(program) };
}

/** The packages and what they depend on. */
function withDependencies(names: Iterable<string>): Set<string> {
  const lock = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.lock"))) as {
    readonly npm: Readonly<Record<string, { readonly dependencies?: readonly string[] }>>;
  };
  const found = new Set(names);
  for (const name of found) {
    for (const [entry, { dependencies = [] }] of Object.entries(lock.npm)) {
      if (packageOf(entry) === name) { for (const other of dependencies) found.add(packageOf(`${other}@`)); }
    }
  }
  return found;
}

Deno.test("a first run needs no package that only tests or options use", async () => {
  const { program, tests } = await importedPackages();
  assert(program.has("@peculiar/x509") && tests.has("playwright-core"), [...tests].join());
  const needed = withDependencies([...program].filter((name) => !OPTIONAL.includes(name)));

  // A cache that holds those packages and no others; whatever else is asked for is an error under --cached-only.
  const { npmCache } = JSON.parse(text((await deno("info", "--json")).stdout)) as { npmCache: string };
  const cache = await Deno.makeTempDir({ prefix: "wss-cache-" });
  try {
    for (const { name: registry } of Deno.readDirSync(npmCache)) {
      for (const name of needed) {
        const copy = join(cache, "npm", registry, name);
        await Deno.mkdir(dirname(copy), { recursive: true });
        // Not a link: Deno resolves it, and does not know the module by that path.
        await new Deno.Command("cp", { args: ["-R", join(npmCache, registry, name), copy] }).output();
      }
    }
    const options = { env: { DENO_DIR: cache }, permissions: ["-A", "--cached-only"] };
    const { code, stderr } = await runProgram(["--version"], options);
    assertEquals([code, stderr], [0, ""]);
    await using service = await startProgram([], options);
    assertEquals((await service.stop()).code, 0);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});
