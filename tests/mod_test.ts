/** The public API of the library: all of it is documented, and each function has an example for `deno test --doc`. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { ROOT } from "./support/program.ts";

/** The fields of a declaration in `deno doc --json` that are used here. */
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

Deno.test("deno doc --lint reports no problem in the library", async () => {
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

/** Yields declarations with their names, at any depth of the output of `deno doc`. */
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
