/**
 * The rules of the house as functions from what was found to what is wrong; house_test.ts applies them to the tree.
 * @module
 */

/** Who imports whom, by path from the root: `lib/ws/peer.ts`. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The text of files by path from the root. */
export type Texts = ReadonlyMap<string, string>;

/**
 * The floors, from the ground up: a file imports from its own folder and from what stands before it. A name with `/` at
 * its end is a folder of lib/, another one a file in it.
 */
const FLOORS: readonly (readonly string[])[] = [
  [
    ...[
      "errors.ts",
      "diagnostic_finding.ts",
      "log_writer.ts",
      "ip.ts",
      "close_codes.ts",
      "duration_and_size.ts",
      "text_file.ts",
      "metrics.ts",
      "unstable_features.ts",
    ],
    "version.ts",
  ],
  ["log.ts", "host_name.ts"],
  ["log_throttle.ts"],
  ["config/"],
  ["tls/"],
  ["net/"],
  ["auth/"],
  ["proxy/"],
  ["client/"],
  ["check/"],
  ["hub/"],
  ["handshake/"],
  ["ws/"],
  ["apps/"],
  ["http/"],
  ["admin/"],
  ["service/"],
  ["workers/"],
  ["cli/"],
  ["mod.ts"],
];

/** Lines that a file may have. */
const MOST_LINES = 400;

/** What belongs at the top, beside files whose names begin with a dot. */
const TOP: readonly string[] = ["main.ts", "lib", "tests", "deno.json", "deno.lock", "certs", "README.md", "LICENSE"];

/** The floor of a file of ours, or undefined where it stands on none. */
function floorOf(path: string): number | undefined {
  const inside = path.replace(/^lib\//, "");
  const floor = FLOORS.findIndex((names) =>
    names.some((name) => name.endsWith("/") ? inside.startsWith(name) : inside === name)
  );
  return floor < 0 ? undefined : floor;
}

/** Imports that go up, or to where nothing is known. */
export function upwardImports(graph: Graph): string[] {
  const problems: string[] = [];
  for (const [path, imports] of graph) {
    if (path === "main.ts") {
      const others = [...imports].filter((to) => to !== "lib/cli/main.ts");
      problems.push(...others.map((to) => `main.ts imports ${to}: lib/cli/main.ts and nothing else is its business`));
      continue;
    }
    const from = floorOf(path);
    if (from === undefined) {
      problems.push(`${path} stands on no floor: give it one in tests/support/house.ts`);
      continue;
    }
    for (const to of imports) {
      const floor = floorOf(to);
      // What is not a module of lib/ (deno.json, for the version) lies under all of them.
      if (!to.startsWith("lib/")) {
        if (to !== "deno.json") problems.push(`${path} imports ${to}, which is no part of lib/`);
      } else if (floor !== undefined && (floor > from || (floor === from && isLeaf(path)))) {
        problems.push(`${path} imports ${to}, which stands above it`);
      }
    }
  }
  return problems;
}

/** Whether it stands alone on its floor or beside others that it does not know. */
function isLeaf(path: string): boolean {
  return !path.slice("lib/".length).includes("/");
}

/** The cycles of a graph: one for each way back that a walk finds. */
export function cycles(graph: Graph): string[] {
  const problems: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    const at = trail.indexOf(path);
    if (at >= 0) {
      problems.push(`a cycle: ${[...trail.slice(at), path].join(" -> ")}`);
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const to of graph.get(path) ?? []) visit(to);
    trail.pop();
    done.add(path);
  };
  for (const path of graph.keys()) visit(path);
  return problems;
}

/** What there is once in lib/, and where. */
const ONLY: readonly (readonly [member: string, home: string])[] = [
  ["serve", "lib/net/"],
  ["upgradeWebSocket", "lib/ws/upgrade.ts"],
  ["dlopen", "lib/net/ffi/libc.ts"],
];

/** Uses of what only one place may use: listeners, upgrades, the C library, the environment. */
export function strayUses(texts: Texts): string[] {
  const problems: string[] = [];
  for (const [member, home] of ONLY) {
    const uses = [...texts].flatMap(([path, text]) => usesOf(text, member).map((line) => ({ path, line })));
    const strays = uses.filter(({ path }) => !path.startsWith(home));
    problems.push(...strays.map(({ path, line }) => `${path}:${line}: Deno.${member} belongs into ${home}`));
    if (uses.length > 1) {
      problems.push(`Deno.${member} once, not ${uses.length} times: ${uses.map((use) => use.path).join(", ")}`);
    }
  }
  for (const [path, text] of texts) {
    if (path.startsWith("lib/config/")) continue;
    problems.push(...usesOf(text, "env").map((line) => `${path}:${line}: Deno.env is for lib/config/ alone`));
  }
  return problems;
}

/** The lines on which code, not a comment, takes a member of `Deno`, however that is written. */
function usesOf(text: string, member: string): number[] {
  const code = text.split("\n").map((line) => /^\s*(\*|\/\/|\/\*)/.test(line) ? "" : line).join("\n");
  const patterns = [
    String.raw`\bDeno\s*(?:\?\.|!?\.)\s*${member}\b`,
    String.raw`\bDeno\s*(?:\?\.)?\[\s*["'\`]${member}["'\`]`,
    String.raw`\{[^{}]*\b${member}\b[^{}]*\}\s*=\s*(?:globalThis\.)?Deno\b(?!\s*[.?[])`,
  ];
  return patterns.flatMap((pattern) =>
    [...code.matchAll(new RegExp(pattern, "g"))].map(({ index }) => code.slice(0, index).split("\n").length)
  );
}

/** Files that have grown too long. */
export function longFiles(texts: Texts): string[] {
  return [...texts].flatMap(([path, text]) => {
    const lines = text.replace(/\n$/, "").split("\n").length;
    return lines > MOST_LINES ? [`${path} has ${lines} lines, and ${MOST_LINES} is the most`] : [];
  });
}

/** Folders of tests that start whole programs, and tests of what is no module of lib/. */
const BEHAVIOUR: readonly string[] = ["bench", "hostile", "lifecycle", "peers"];
const OUTSIDE: readonly string[] = ["compile", "deno_json", "house", "library", "readme", "run", "start"];

/** Tests that are not where a reader looks for them: `tests/ws/peer_test.ts` for `lib/ws/peer.ts`. */
export function misplacedTests(tests: readonly string[], code: readonly string[]): string[] {
  return tests.flatMap((path) => {
    const [, folder, name] = /^tests\/(?:(.+)\/)?([^/]+)_test\.ts$/.exec(path)!;
    if (folder === undefined) {
      const known = OUTSIDE.includes(name!) || code.some((file) => file === `lib/${name}.ts`);
      return known ? [] : [`${path}: there is no lib/${name}.ts`];
    }
    if (BEHAVIOUR.includes(folder)) return [];
    if (!code.some((file) => file.startsWith(`lib/${folder}/`))) return [`${path}: there is no lib/${folder}/`];
    if (code.includes(`lib/${folder}/${name}.ts`)) return [];
    const other = code.find((file) => file.endsWith(`/${name}.ts`) && !file.startsWith(`lib/${folder}/`));
    return other === undefined ? [] : [`${path}: it has the name of ${other}`];
  });
}

/** What lies at the top and does not belong there. */
export function strayEntries(names: readonly string[]): string[] {
  return names.filter((name) => !name.startsWith(".") && !TOP.includes(name)).map((name) => `${name} lies at the top`);
}

/** Dependencies whose version is not one exact version. */
export function loosePins(imports: Readonly<Record<string, string>>): string[] {
  return Object.entries(imports).flatMap(([name, target]) => {
    if (target.startsWith("./")) return [];
    const exact = /^(?:npm|jsr):(?:@[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+(?:-[\w.]+)?(?:\/.*)?$/.test(target);
    return exact ? [] : [`deno.json: ${name} is ${target}: one exact version of npm: or jsr: is needed`];
  });
}

/** Specifiers that bring their version along, past the import map. */
export function unmappedImports(texts: Texts): string[] {
  return [...texts].flatMap(([path, text]) =>
    [...text.matchAll(/^(?:import|export|\} from)\b[^"\n]*"((?:npm|jsr|https?):[^"]+)"/gm)]
      .map(([, specifier]) => `${path} imports ${specifier}: the import map in deno.json is where versions stand`)
  );
}
