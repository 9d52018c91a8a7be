import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  cycles,
  type Graph,
  longFiles,
  loosePins,
  misplacedTests,
  strayEntries,
  strayUses,
  type Texts,
  unmappedImports,
  upwardImports,
} from "./support/house.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The fields of `deno info --json` that are used here. */
interface Info {
  readonly modules: readonly {
    readonly kind?: string;
    readonly specifier: string;
    readonly error?: string;
    readonly dependencies?: readonly {
      readonly specifier: string;
      readonly code?: { readonly specifier?: string; readonly error?: string };
      readonly type?: { readonly specifier?: string; readonly error?: string };
    }[];
  }[];
}

async function importsOf(entry: string): Promise<Map<string, Set<string>>> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "--no-lock", entry],
    cwd: ROOT,
  }).output();
  assert(success, new TextDecoder().decode(stderr));
  const info = JSON.parse(new TextDecoder().decode(stdout)) as Info;
  const graph = new Map<string, Set<string>>();
  for (const { specifier, dependencies = [], error } of info.modules) {
    assertEquals(error, undefined);
    const path = ours(specifier);
    if (path === undefined || !path.endsWith(".ts")) continue;
    // An import of types only has no `code`. It counts too.
    const targets = dependencies.map(({ code, type }) => ours(code?.specifier ?? type?.specifier ?? ""));
    graph.set(path, new Set(targets.filter((to) => to !== undefined)));
  }
  return graph;
}

function ours(specifier: string): string | undefined {
  const root = new URL("..", import.meta.url).href;
  return specifier.startsWith(root) ? specifier.slice(root.length) : undefined;
}

/** Every module of the program, including those that only a Worker loads. */
async function wholeGraph(): Promise<Graph> {
  const graph = new Map<string, Set<string>>();
  const entries = ["main.ts", "lib/mod.ts"];
  for (const entry of entries) for (const [path, imports] of await importsOf(entry)) graph.set(path, imports);
  for (const path of texts().keys()) {
    if (graph.has(path) || !path.endsWith(".ts")) continue;
    for (const [found, imports] of await importsOf(path)) graph.set(found, imports);
  }
  return graph;
}

/** main.ts and the code in lib/, or the code in another folder. */
function texts(root = "lib"): Texts {
  const found = new Map<string, string>();
  if (root === "lib") found.set("main.ts", Deno.readTextFileSync(join(ROOT, "main.ts")));
  const visit = (folder: string): void => {
    for (const { name, isDirectory } of Deno.readDirSync(join(ROOT, folder))) {
      const path = `${folder}/${name}`;
      if (isDirectory) visit(path);
      else if (/\.(ts|js)$/.test(name)) found.set(path, Deno.readTextFileSync(join(ROOT, path)));
    }
  };
  visit(root);
  return found;
}

function graphOf(edges: Record<string, string[]>): Graph {
  return new Map(Object.entries(edges).map(([path, imports]) => [path, new Set(imports)]));
}

Deno.test("the modules have no import cycle and no upward import", async () => {
  const graph = await wholeGraph();
  // The graph is not empty and includes imports of types.
  assert(graph.get("main.ts")?.has("lib/cli/main.ts"));
  assert(graph.get("lib/handshake/verify_handshake.ts")?.has("lib/handshake/refusal.ts"));
  assertEquals(upwardImports(graph), []);
  assertEquals(cycles(graph), []);
});

Deno.test("Deno.serve, Deno.upgradeWebSocket and Deno.dlopen are each used in one file, and Deno.env only in config", () => {
  const all = texts();
  assertEquals(strayUses(all), []);
  for (const member of ["serve(", "upgradeWebSocket(", "dlopen(", "env."]) {
    assert([...all.values()].some((text) => text.includes(`Deno.${member}`)), `no file uses Deno.${member}`);
  }
});

Deno.test("no file has more than 400 lines", () => {
  assertEquals(longFiles(texts()), []);
  assertEquals(longFiles(texts("tests")), []);
});

Deno.test("tests are in the folder of the code that they test", () => {
  const tests = [...texts("tests").keys()].filter((path) => path.endsWith("_test.ts"));
  assert(tests.includes("tests/house_test.ts"));
  assertEquals(misplacedTests(tests, [...texts().keys()]), []);
});

Deno.test("the root folder has only known entries", () => {
  const tracked = new Deno.Command("git", { args: ["ls-files"], cwd: ROOT, stdout: "piped", stderr: "null" });
  let names: string[];
  try {
    const { success, stdout } = tracked.outputSync();
    names = success ? new TextDecoder().decode(stdout).trim().split("\n").map((path) => path.split("/")[0]!) : [];
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    names = [];
  }
  // Without git, all entries count, even build output that .gitignore lists.
  if (names.length === 0) names = [...Deno.readDirSync(ROOT)].map(({ name }) => name);
  assert(names.includes("main.ts"));
  assertEquals(strayEntries([...new Set(names)]), []);
});

Deno.test("every dependency has an exact version in deno.json", () => {
  const { imports } = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.json"))) as { imports: Record<string, string> };
  assert(Object.keys(imports).length > 0);
  assertEquals(loosePins(imports), []);
  assertEquals(unmappedImports(texts()), []);
});

Deno.test("house rules: find an upward import", () => {
  for (
    const [from, to] of [
      ["lib/errors.ts", "lib/log.ts"],
      ["lib/log.ts", "lib/config/load_settings.ts"],
      ["lib/config/load_settings.ts", "lib/tls/certificate_files.ts"],
      ["lib/tls/certificate_files.ts", "lib/net/listener/listener.ts"],
      ["lib/net/listener/listener.ts", "lib/auth/jwt.ts"],
      ["lib/auth/jwt.ts", "lib/proxy/site_description.ts"],
      ["lib/proxy/site_description.ts", "lib/client/open_client.ts"],
      ["lib/client/open_client.ts", "lib/check/run_check.ts"],
      ["lib/check/run_check.ts", "lib/hub/topics.ts"],
      ["lib/hub/topics.ts", "lib/handshake/origin.ts"],
      ["lib/handshake/origin.ts", "lib/ws/peer.ts"],
      ["lib/ws/peer.ts", "lib/apps/echo.ts"],
      ["lib/apps/echo.ts", "lib/http/request_handler.ts"],
      ["lib/http/request_handler.ts", "lib/service/serve.ts"],
      ["lib/service/serve.ts", "lib/cli/main.ts"],
      ["lib/cli/main.ts", "lib/mod.ts"],
    ] as const
  ) {
    assertEquals(upwardImports(graphOf({ [from]: [to] })), [`${from} imports ${to}, which is not in a lower layer`]);
    // The reverse import is allowed (not tested between files directly in lib/).
    assertEquals(upwardImports(graphOf({ [to]: [from] })), []);
  }
  assertEquals(upwardImports(graphOf({ "lib/ws/peer.ts": ["lib/ws/message.ts", "lib/errors.ts"] })), []);
});

Deno.test("house rules: find a wrong import of main.ts, an unknown folder and an import from outside", () => {
  assertEquals(upwardImports(graphOf({ "main.ts": ["lib/cli/main.ts"] })), []);
  assertMatch(
    upwardImports(graphOf({ "main.ts": ["lib/service/serve.ts"] })).join(),
    /^main\.ts imports lib\/service\/serve\.ts:/,
  );
  assertMatch(upwardImports(graphOf({ "lib/odds.ts": [] })).join(), /^lib\/odds\.ts belongs to no layer/);
  assertMatch(upwardImports(graphOf({ "lib/attic/a.ts": [] })).join(), /^lib\/attic\/a\.ts belongs to no layer/);
  assertMatch(
    upwardImports(graphOf({ "lib/ws/peer.ts": ["tests/support/raw.ts"] })).join(),
    /tests\/support\/raw\.ts, which is not in lib/,
  );
  assertEquals(upwardImports(graphOf({ "lib/version.ts": ["deno.json"] })), []);
});

Deno.test("house rules: find and name an import cycle of any length", () => {
  const ring = { a: ["b", "d"], b: ["c"], c: ["a"], d: [] };
  assertEquals(cycles(graphOf(ring)), ["a cycle: a -> b -> c -> a"]);
  assertEquals(cycles(graphOf({ a: ["a"] })), ["a cycle: a -> a"]);
  assertEquals(cycles(graphOf({ a: ["b", "c"], b: ["d"], c: ["d"], d: [] })), []);
  assertEquals(cycles(graphOf({ x: ["a"], a: ["b"], b: ["a"] })), ["a cycle: a -> b -> a"]);
});

Deno.test("house rules: find a second use, a use in another file and another spelling, but not comments", () => {
  const right = new Map([
    ["lib/net/listener/accept_loop.ts", "// Deno.serve( is here\nDeno.serve(\n"],
    ["lib/net/ffi/libc.ts", "/**\n * Deno.dlopen(\n */\nDeno.dlopen(name)"],
    ["lib/ws/upgrade.ts", "Deno.upgradeWebSocket(request)"],
    ["lib/config/load_settings.ts", "Deno.env.get(name)"],
  ]);
  assertEquals(strayUses(right), []);
  const wrong = (path: string, text: string) => strayUses(new Map([...right, [path, text]]));
  assertEquals(wrong("lib/net/watchdog/watchdog.ts", "Deno.serve({})").length, 1);
  for (
    const text of [
      "Deno.serve(() => x)",
      "const s = Deno\n  .serve",
      'Deno["serve"]',
      "const { serve } = Deno;",
      "const { serve: x, env } = globalThis.Deno;",
      "globalThis.Deno.serve()",
    ]
  ) {
    assertMatch(
      wrong("lib/ws/peer.ts", text).join("\n"),
      /^lib\/ws\/peer\.ts:1: Deno\.serve may be used only in lib\/net\/$/m,
    );
  }
  assertEquals(wrong("lib/ws/upgrade.ts", "Deno.upgradeWebSocket(a); Deno.upgradeWebSocket(b)").length, 1);
  assertEquals(wrong("lib/http/request_handler.ts", "x;\nDeno.upgradeWebSocket(a)").sort(), [
    "Deno.upgradeWebSocket may be used once, not 2 times: lib/ws/upgrade.ts, lib/http/request_handler.ts",
    "lib/http/request_handler.ts:2: Deno.upgradeWebSocket may be used only in lib/ws/upgrade.ts",
  ]);
  assertEquals(wrong("lib/tls/certificate_files.ts", "Deno.dlopen(x)").length, 2);
  assertEquals(wrong("lib/tls/certificate_files.ts", "x;\ny;\nDeno.env.get(x)"), [
    "lib/tls/certificate_files.ts:3: Deno.env may be used only in lib/config/",
  ]);
  assertEquals(
    wrong("lib/tls/certificate_files.ts", "const { serverName } = options; const { PermissionDenied } = Deno.errors;"),
    [],
  );
});

Deno.test("house rules: find a test in an unknown folder, or named after a file of another folder", () => {
  const code = ["lib/log.ts", "lib/ws/peer.ts", "lib/tls/x509/der.ts"];
  const right = [
    ...["tests/log_test.ts", "tests/ws/peer_test.ts", "tests/ws/upgrade_test.ts", "tests/tls/x509/der_test.ts"],
    ...["tests/lifecycle/drain_test.ts", "tests/peers/curl_test.ts", "tests/run_test.ts"],
  ];
  assertEquals(misplacedTests(right, code), []);
  assertEquals(misplacedTests(["tests/attic/a_test.ts", "tests/tls/peer_test.ts", "tests/odds_test.ts"], code), [
    "tests/attic/a_test.ts: there is no lib/attic/",
    "tests/tls/peer_test.ts: it is named after lib/ws/peer.ts",
    "tests/odds_test.ts: there is no lib/odds.ts",
  ]);
});

Deno.test("house rules: find a 401st line, an unknown entry, an inexact version and a version outside the import map", () => {
  assertEquals(longFiles(new Map([["lib/a.ts", "x\n".repeat(400)]])), []);
  assertEquals(longFiles(new Map([["lib/a.ts", "x\n".repeat(401)]])), ["lib/a.ts has 401 lines: the maximum is 400"]);
  assertEquals(strayEntries(["main.ts", ".ci", ".gitignore", "notes.md", "src"]), [
    "notes.md is not allowed in the root folder",
    "src is not allowed in the root folder",
  ]);
  const good = {
    a: "npm:@x/y@1.2.3",
    b: "npm:deno-std@1.4.0/assert/mod.js",
    c: "./lib/mod.ts",
    d: "jsr:@std/cli@1.0.0",
  };
  assertEquals(loosePins(good), []);
  for (
    const target of ["npm:jose", "npm:jose@6", "npm:jose@^6.2.17", "npm:jose@6.2", "npm:jose@latest", "https://x/y.ts"]
  ) {
    assertEquals(loosePins({ jose: target }).length, 1, target);
  }
  const texts = new Map([[
    "lib/a.ts",
    'import { x } from "npm:jose@6.2.17";\nexport {\n  y,\n} from "jsr:@std/cli";\n',
  ]]);
  assertEquals(unmappedImports(texts).length, 2);
  assertEquals(unmappedImports(new Map([["lib/a.ts", 'import { x } from "jose";\nsay("npm:jose");\n']])), []);
});
