// The README's table is the option table, and what it names exists. WSS_UPDATE=1 writes the table anew.
import { assert, assertEquals } from "@std/assert";
import { GENERATORS, proxyConfiguration } from "../lib/cli/proxy.ts";
import { loadCommands } from "../lib/cli/main.ts";
import { optionsMarkdown } from "../lib/cli/help.ts";
import { SERVE_OPTIONS } from "../lib/cli/serve.ts";
import { flagOf } from "../lib/config/option_table.ts";

const FILE = new URL("../README.md", import.meta.url);
const TABLE = /(<!-- options:[^>]*-->\n)([\s\S]*?)(<!-- \/options -->)/;

const PROXY = /(<!-- proxy (\w+) -->\n)([\s\S]*?)(<!-- \/proxy -->)/g;

Deno.test("the README's proxy configurations are what the command prints", async () => {
  const readme = await Deno.readTextFile(FILE);
  const none = { flags: new Map(), problems: [] };
  const blocks = [...readme.matchAll(PROXY)];
  assertEquals(blocks.map((block) => block[2]), GENERATORS.map(({ name }) => name));
  let fresh = readme;
  for (const [whole, open, name, found, close] of blocks) {
    const { text } = proxyConfiguration({ ...none, positionals: [name!] }, {});
    const expected = "\n```\n" + text.trim() + "\n```\n\n";
    fresh = fresh.replace(whole, () => open + expected + close);
    if (Deno.env.get("WSS_UPDATE") !== "1") assertEquals(found!.trim(), expected.trim(), name);
  }
  if (Deno.env.get("WSS_UPDATE") === "1") await Deno.writeTextFile(FILE, fresh);
});

Deno.test("the README's options are the option table", async () => {
  const readme = await Deno.readTextFile(FILE);
  const expected = optionsMarkdown(SERVE_OPTIONS) + "\n";
  if (Deno.env.get("WSS_UPDATE") === "1") {
    await Deno.writeTextFile(
      FILE,
      readme.replace(TABLE, (_, open, __, close) => open + "\n" + expected + "\n" + close),
    );
    return;
  }
  assertEquals(TABLE.exec(readme)?.[2]?.trim(), expected.trim(), "run WSS_UPDATE=1 deno test -A tests/readme_test.ts");
});

Deno.test("every flag that the README names exists", async () => {
  const readme = await Deno.readTextFile(FILE);
  const known = new Set((await loadCommands()).flatMap(({ options }) => Object.keys(options).map(flagOf)));
  // The two that every command has, and one of Deno.
  for (const general of ["--help", "--version", "--allow-ffi"]) known.add(general);
  const ours = [...readme.matchAll(/(?:main\.ts|wss|^`|\s`|\()[^\n`]*?(--[a-z][a-z-]+)/gm)].map((match) => match[1]!);
  assert(ours.length > 10);
  for (const flag of ours) assert(known.has(flag), `${flag} is in the README and in no option table`);
});
