// The documentation matches the option table and the generators. WSS_UPDATE=1 rewrites the generated parts.
import { assert, assertEquals } from "@std/assert";
import { generateProxyConfiguration, GENERATORS } from "../lib/cli/proxy.ts";
import { loadCommands } from "../lib/cli/main.ts";
import { optionsMarkdown } from "../lib/cli/help.ts";
import { SERVE_OPTIONS } from "../lib/cli/serve.ts";
import { flagOf } from "../lib/config/option_table.ts";

const FILE = new URL("../README.md", import.meta.url);
const PROXY_PAGE = new URL("../lib/proxy/README.md", import.meta.url);
const OPTIONS_PAGE = new URL("../lib/config/README.md", import.meta.url);
const TABLE = /(<!-- options:[^>]*-->\n)([\s\S]*?)(<!-- \/options -->)/;

const PROXY = /(<!-- proxy (\w+) -->\n)([\s\S]*?)(<!-- \/proxy -->)/g;

Deno.test("the documented proxy configurations match the command's output", async () => {
  const readme = await Deno.readTextFile(PROXY_PAGE);
  const none = { flags: new Map(), problems: [] };
  const blocks = [...readme.matchAll(PROXY)];
  assertEquals(blocks.map((block) => block[2]), GENERATORS.map(({ name }) => name));
  let fresh = readme;
  for (const [whole, open, name, found, close] of blocks) {
    const { text } = generateProxyConfiguration({ ...none, positionals: [name!] }, {});
    const expected = "\n```\n" + text.trim() + "\n```\n\n";
    fresh = fresh.replace(whole, () => open + expected + close);
    if (Deno.env.get("WSS_UPDATE") !== "1") assertEquals(found!.trim(), expected.trim(), name);
  }
  if (Deno.env.get("WSS_UPDATE") === "1") await Deno.writeTextFile(PROXY_PAGE, fresh);
});

Deno.test("the documented options match the option table", async () => {
  const readme = await Deno.readTextFile(OPTIONS_PAGE);
  const expected = optionsMarkdown(SERVE_OPTIONS) + "\n";
  if (Deno.env.get("WSS_UPDATE") === "1") {
    await Deno.writeTextFile(
      OPTIONS_PAGE,
      readme.replace(TABLE, (_, open, __, close) => open + "\n" + expected + "\n" + close),
    );
    return;
  }
  assertEquals(TABLE.exec(readme)?.[2]?.trim(), expected.trim(), "run WSS_UPDATE=1 deno test -A tests/readme_test.ts");
});

/** The README and the pages of lib/. */
async function pages(): Promise<URL[]> {
  const found = [FILE];
  const root = new URL("../lib/", import.meta.url);
  for await (const { name, isDirectory } of Deno.readDir(root)) {
    const page = new URL(`${name}/README.md`, root);
    if (isDirectory && await Deno.stat(page).then(() => true, () => false)) found.push(page);
  }
  return found;
}

Deno.test("every link in the documentation has a target", async () => {
  for (const page of await pages()) {
    const text = await Deno.readTextFile(page);
    for (const [, target] of text.matchAll(/\]\(([^)]+)\)/g)) {
      if (/^https?:/.test(target!)) continue;
      const { href, hash } = new URL(target!, page);
      const linked = await Deno.readTextFile(new URL(href.replace(hash, "")));
      const headings = [...linked.matchAll(/^#+ (.*)$/gm)].map(([, title]) =>
        title!.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-")
      );
      assert(hash === "" || headings.includes(hash.slice(1)), `${page.pathname} links to ${target}`);
    }
  }
});

Deno.test("every flag in the documentation exists", async () => {
  const texts = await Promise.all((await pages()).map((page) => Deno.readTextFile(page)));
  const readme = texts.join("\n");
  const known = new Set((await loadCommands()).flatMap(({ options }) => Object.keys(options).map(flagOf)));
  // Two flags that every command has, and flags of Deno and systemctl.
  for (const general of ["--help", "--version", "--allow-ffi", "--cached-only", "--kill-whom"]) known.add(general);
  const ours = [...readme.matchAll(/(?:main\.ts|wss|^`|\s`|\()[^\n`]*?(--[a-z][a-z-]+)/gm)].map((match) => match[1]!);
  assert(ours.length > 10);
  for (const flag of ours) assert(known.has(flag), `${flag} is in the documentation but in no option table`);
});
