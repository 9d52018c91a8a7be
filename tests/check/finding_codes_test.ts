/** Compares the table of codes with the source code that reports them and with the page that documents them. */
import { assert, assertEquals } from "@std/assert";
import { CODES, PROBES } from "../../lib/check/finding_codes.ts";
import { CLIENT_NAMES } from "../../lib/check/check_options.ts";

async function sourcesOf(folder: string): Promise<string> {
  const base = new URL(`../../lib/${folder}/`, import.meta.url);
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(base)) {
    if (isDirectory) text += await sourcesOf(`${folder}/${name}`);
    else if (name.endsWith(".ts")) text += await Deno.readTextFile(new URL(name, base));
  }
  return text;
}

const page = await Deno.readTextFile(new URL("../../lib/check/README.md", import.meta.url));

Deno.test("every code in the table is used in the source code", async () => {
  const sources = (await sourcesOf("check")).replace(/export const CODES = \{[\s\S]*?\n\}/, "") +
    await sourcesOf("tls");
  // The codes signature-sha1 and signature-md5 are built from the name of the digest.
  const used = (code: string) => sources.includes(`"${code}"`) || sources.includes(`\`${code.split("-")[0]}-\${`);
  assertEquals(Object.keys(CODES).filter((code) => !used(code)), []);
});

Deno.test("every code that lib/tls/x509 reports is in the table", async () => {
  const sources = await sourcesOf("tls/x509");
  const codes = [...sources.matchAll(/\bfinding\(\s*"([a-z0-9-]+)",\s*"?\w/g)].map((match) => match[1]!);
  assert(codes.length > 15, codes.join());
  assertEquals(codes.filter((code) => !(code in CODES)), []);
});

Deno.test("README.md has one row for each code, with its cause and a remedy", () => {
  const rows = [...page.matchAll(/^\| `([a-z0-9-]+)` \| (.+) \| (.+) \|$/gm)].map(([, code, cause, remedy]) => ({
    code: code!,
    cause: cause!,
    remedy: remedy!,
  })).filter(({ cause }) => cause.endsWith("."));
  assertEquals(rows.map(({ code, cause }) => [code, cause]), Object.entries(CODES));
  for (const { code, remedy } of rows) assert(remedy.length > 3, code);
});

Deno.test("README.md names every step, client and field of the report", async () => {
  for (const name of [...PROBES, ...CLIENT_NAMES]) assert(page.includes(`\`${name}\``), name);
  const source = await Deno.readTextFile(new URL("../../lib/check/run_check.ts", import.meta.url));
  const report = /export interface Report \{([\s\S]*?)\n\}/.exec(source)?.[1] ?? "";
  const fields = [...report.matchAll(/readonly (\w+)\??:/g)].map((match) => match[1]!);
  assert(fields.length > 5);
  for (const field of fields) assert(new RegExp(`^\\| \`${field}\` +\\|`, "m").test(page), field);
});
