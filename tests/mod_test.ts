/** The library's public surface: documented whole, each function with an example, which `deno test --doc` runs. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "./support/program.ts";

/** What `deno doc --json` tells of a declaration; only what is read here. */
interface Declaration {
  readonly kind: string;
  readonly jsDoc?: { readonly tags?: readonly { readonly kind: string; readonly doc?: string }[] };
}

async function deno(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: ROOT, env: { NO_COLOR: "1" } })
    .output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("deno doc --lint reports no problem of the library", async () => {
  const { code, stderr } = await deno("doc", "--lint", "lib/mod.ts");
  assertEquals([code, stderr.includes("error")], [0, false], stderr);
});

Deno.test("every exported function has an example that imports the public module", async () => {
  const { stdout } = await deno("doc", "--json", join("lib", "mod.ts"));
  const functions = [...declarations(JSON.parse(stdout))].filter(({ declaration }) => declaration.kind === "function");
  const names = new Set(functions.map(({ name }) => name));
  assert(names.has("serve") && names.has("defineApp"), [...names].join());
  for (const name of names) {
    const tags = functions.filter((one) => one.name === name).flatMap(({ declaration }) =>
      declaration.jsDoc?.tags ?? []
    );
    const examples = tags.filter(({ kind }) => kind === "example").map(({ doc = "" }) => doc);
    assert(
      examples.some((text) => text.includes("```ts") && text.includes('from "@wss/wss"')),
      `${name} has no example`,
    );
  }
});

/** Declarations by name, however deep `deno doc` nests them. */
function* declarations(node: unknown): Generator<{ name: string; declaration: Declaration }> {
  if (Array.isArray(node)) { for (const each of node) yield* declarations(each); }
  else if (typeof node === "object" && node !== null) {
    const { name, declarations: list } = node as { name?: unknown; declarations?: unknown };
    if (typeof name === "string" && Array.isArray(list)) {
      for (const declaration of list as Declaration[]) yield { name, declaration };
    }
    for (const each of Object.values(node)) yield* declarations(each);
  }
}
