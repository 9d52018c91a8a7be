/**
 * The structural rules of the project. Each function takes facts about the source tree and returns the violations.
 * house_test.ts applies the functions to the tree.
 * @module
 */

/** The imports of each file. Paths are relative to the root: `lib/ws/peer.ts`. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** The text of each file. Paths are relative to the root. */
export type Texts = ReadonlyMap<string, string>;

/**
 * The layers, lowest first. A file may import from its own folder and from the layers listed before its own. A name
 * that ends with `/` is a folder of lib/. Any other name is a file in lib/.
 */
const LAYERS: readonly (readonly string[])[] = [
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

/** The maximum number of lines of a file. */
const MOST_LINES = 400;

/** The entries allowed in the root folder. Files whose names begin with a dot are allowed too. */
const TOP: readonly string[] = ["main.ts", "lib", "tests", "deno.json", "deno.lock", "certs", "README.md", "LICENSE"];

/** The layer of a project file, or undefined if the file belongs to no layer. */
function layerOf(path: string): number | undefined {
  const inside = path.replace(/^lib\//, "");
  const layer = LAYERS.findIndex((names) =>
    names.some((name) => name.endsWith("/") ? inside.startsWith(name) : inside === name)
  );
  return layer < 0 ? undefined : layer;
}

/** Imports of a higher layer or of a file outside lib/, and files that belong to no layer. */
export function upwardImports(graph: Graph): string[] {
  const problems: string[] = [];
  for (const [path, imports] of graph) {
    if (path === "main.ts") {
      const others = [...imports].filter((to) => to !== "lib/cli/main.ts");
      problems.push(...others.map((to) => `main.ts imports ${to}: it may import only lib/cli/main.ts`));
      continue;
    }
    const from = layerOf(path);
    if (from === undefined) {
      problems.push(`${path} belongs to no layer: add it to LAYERS in tests/support/house.ts`);
      continue;
    }
    for (const to of imports) {
      const layer = layerOf(to);
      // Files that are not modules of lib/ (deno.json, for the version) count as below all layers.
      if (!to.startsWith("lib/")) {
        if (to !== "deno.json") problems.push(`${path} imports ${to}, which is not in lib/`);
      } else if (layer !== undefined && (layer > from || (layer === from && isLeaf(path)))) {
        problems.push(`${path} imports ${to}, which is not in a lower layer`);
      }
    }
  }
  return problems;
}

/** Whether a file is directly in lib/. Such a file may not import other files of its own layer. */
function isLeaf(path: string): boolean {
  return !path.slice("lib/".length).includes("/");
}

/** The cycles of a graph: one for each back edge that a depth-first walk finds. */
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

/** The constructs that only one place in lib/ may use, and that place. */
const ONLY: readonly (readonly [member: string, home: string])[] = [
  ["serve", "lib/net/"],
  ["upgradeWebSocket", "lib/ws/upgrade.ts"],
  ["dlopen", "lib/net/ffi/libc.ts"],
];

/** Uses of listeners, upgrades, the C library and the environment outside the one place that may use them. */
export function strayUses(texts: Texts): string[] {
  const problems: string[] = [];
  for (const [member, home] of ONLY) {
    const uses = [...texts].flatMap(([path, text]) => usesOf(text, member).map((line) => ({ path, line })));
    const strays = uses.filter(({ path }) => !path.startsWith(home));
    problems.push(...strays.map(({ path, line }) => `${path}:${line}: Deno.${member} may be used only in ${home}`));
    if (uses.length > 1) {
      problems.push(
        `Deno.${member} may be used once, not ${uses.length} times: ${uses.map((use) => use.path).join(", ")}`,
      );
    }
  }
  for (const [path, text] of texts) {
    if (path.startsWith("lib/config/")) continue;
    problems.push(...usesOf(text, "env").map((line) => `${path}:${line}: Deno.env may be used only in lib/config/`));
  }
  return problems;
}

/** The lines on which code accesses a given member of `Deno`, in any notation. Comments do not count. */
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

/** Files that exceed the maximum number of lines. */
export function longFiles(texts: Texts): string[] {
  return [...texts].flatMap(([path, text]) => {
    const lines = text.replace(/\n$/, "").split("\n").length;
    return lines > MOST_LINES ? [`${path} has ${lines} lines: the maximum is ${MOST_LINES}`] : [];
  });
}

/** Folders of tests that start whole programs, and tests that do not test a module of lib/. */
const BEHAVIOUR: readonly string[] = ["bench", "hostile", "lifecycle", "peers"];
const OUTSIDE: readonly string[] = ["compile", "deno_json", "house", "library", "readme", "run", "start"];

/** Tests whose path does not match a module. The test of `lib/ws/peer.ts` is `tests/ws/peer_test.ts`. */
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
    return other === undefined ? [] : [`${path}: it is named after ${other}`];
  });
}

/** Entries of the root folder that are not allowed there. */
export function strayEntries(names: readonly string[]): string[] {
  return names.filter((name) => !name.startsWith(".") && !TOP.includes(name)).map((name) =>
    `${name} is not allowed in the root folder`
  );
}

/** Dependencies that do not specify one exact version. */
export function loosePins(imports: Readonly<Record<string, string>>): string[] {
  return Object.entries(imports).flatMap(([name, target]) => {
    if (target.startsWith("./")) return [];
    const exact = /^(?:npm|jsr):(?:@[\w.-]+\/)?[\w.-]+@\d+\.\d+\.\d+(?:-[\w.]+)?(?:\/.*)?$/.test(target);
    return exact ? [] : [`deno.json: ${name} is ${target}: an exact npm: or jsr: version is required`];
  });
}

/** Import specifiers that contain a version and so bypass the import map. */
export function unmappedImports(texts: Texts): string[] {
  return [...texts].flatMap(([path, text]) =>
    [...text.matchAll(/^(?:import|export|\} from)\b[^"\n]*"((?:npm|jsr|https?):[^"]+)"/gm)]
      .map(([, specifier]) => `${path} imports ${specifier}: versions belong in the import map of deno.json`)
  );
}
