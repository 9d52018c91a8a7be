/** deno.json: the permissions for `deno test` without `-A`, and the packages that a first run downloads. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import project from "../deno.json" with { type: "json" };
import { copyPackages, packageOf } from "./support/npm_cache.ts";
import { ROOT, runProgram, startProgram } from "./support/program.ts";

/** Packages that lib/ imports only if an option requires them. */
const OPTIONAL: readonly string[] = [];

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

function deno(...args: string[]): Promise<Deno.CommandOutput> {
  return new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" }, stdin: "null" }).output();
}

Deno.test("deno test without -P names that flag, and with -P it runs", async () => {
  const without = await deno("test", "tests/ip_test.ts");
  assertEquals(without.code, 1);
  assertMatch(text(without.stderr), /^error: Test permissions were found .* `-P`/);
  assertMatch(
    text((await deno("test", "-P", "--no-check", "tests/ip_test.ts")).stdout),
    /^ok \| \d+ passed \| 0 failed/m,
  );
});

/** The packages of the import map: those that lib/ imports, and those that only tests import. */
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

Deno.test("the first run downloads no package that only tests or options need", async () => {
  const { program, tests } = await importedPackages();
  assert(program.has("@peculiar/x509") && tests.has("playwright-core"), [...tests].join());
  // The cache contains only those packages. With --cached-only, an import of another package is an error.
  const cache = await Deno.makeTempDir({ prefix: "wss-cache-" });
  try {
    await copyPackages([...program].filter((name) => !OPTIONAL.includes(name)), cache);
    const options = { env: { DENO_DIR: cache }, permissions: ["-A", "--cached-only"] };
    const { code, stderr } = await runProgram(["--version"], options);
    assertEquals([code, stderr], [0, ""]);
    await using service = await startProgram([], options);
    assertEquals((await service.stop()).code, 0);
  } finally {
    await Deno.remove(cache, { recursive: true });
  }
});

/** Modules of JSR's `@std` that may be imported (`exports` in the package's deno.json), and the names in them. */
const STD: Readonly<Record<string, readonly string[]>> = {
  "@std/assert": [
    ...["assert", "assertAlmostEquals", "assertArrayIncludes", "assertEquals", "assertExists", "assertFalse"],
    ...["assertGreater", "assertGreaterOrEqual", "assertInstanceOf", "AssertionError", "assertIsError", "assertLess"],
    ...["assertLessOrEqual", "assertMatch", "assertNotEquals", "assertNotInstanceOf", "assertNotMatch"],
    ...["assertNotStrictEquals", "assertObjectMatch", "assertRejects", "assertStrictEquals", "assertStringIncludes"],
    ...["assertThrows", "equal", "fail", "unimplemented", "unreachable"],
  ],
  "@std/async/deadline": ["deadline"],
  "@std/async/delay": ["delay"],
  "@std/cli/parse-args": ["parseArgs"],
  "@std/http/status": ["STATUS_CODE", "STATUS_TEXT"],
  "@std/streams/text-line-stream": ["TextLineStream"],
  "@std/text/levenshtein-distance": ["levenshteinDistance"],
  "@std/yaml/parse": ["parse"],
};

/** Names that files import from `@std`: `@std/async/delay: delay`. */
async function stdImports(): Promise<Set<string>> {
  const { stdout } = await new Deno.Command("grep", {
    args: [
      "-rzohE",
      "--include=*.ts",
      '(import|export) [^;]*from "@std/[^"]*"|import\\("@std/[^"]*"\\)',
      "lib",
      "tests",
      "main.ts",
    ],
    cwd: ROOT,
  }).output();
  const found = new Set<string>();
  for (const statement of text(stdout).split("\0").filter((part) => part !== "")) {
    const [, names, module] = /\{([^}]*)\} from "(@std\/[^"]*)"$/.exec(statement) ?? [];
    if (module === undefined) found.add(statement);
    for (const name of (names ?? "").split(",")) {
      const imported = name.trim().replace(/^type /, "").split(" as ")[0]!;
      if (imported !== "") found.add(`${module}: ${imported}`);
    }
  }
  return found;
}

Deno.test("imports only names that JSR's @std has, from the npm module of the same name", async () => {
  const known = new Set(Object.entries(STD).flatMap(([module, names]) => names.map((name) => `${module}: ${name}`)));
  const imported = await stdImports();
  assertEquals([...imported.difference(known)], []);
  assertEquals(new Set([...imported].map((name) => name.split(":")[0])), new Set(Object.keys(STD)));
  const entries = Object.entries(project.imports).filter(([name, target]) =>
    /^@std\/|deno-std|jsr:/.test(name + target)
  );
  const expected = Object.keys(STD).map((name) => {
    const [, folder, module = "mod"] = /^@std\/([a-z]+)(?:\/([a-z-]+))?$/.exec(name)!;
    return [name, `npm:deno-std@1.4.0/${folder}/${module.replaceAll("-", "_")}.js`];
  });
  assertEquals(Object.fromEntries(entries), Object.fromEntries(expected));
});

Deno.test("the documented change maps the same packages to JSR", async () => {
  const page = await Deno.readTextFile(new URL("../lib/service/README.md", import.meta.url));
  const [, json] = /<!-- @std from JSR -->\s+```json\n([^]*?)```/.exec(page)!;
  const packages = [...new Set(Object.keys(STD).map((name) => name.split("/").slice(0, 2).join("/")))];
  assertEquals(JSON.parse(json!), Object.fromEntries(packages.map((name) => [name, `jsr:${name}@1`])));
});
