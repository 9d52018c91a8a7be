/** The table of codes against the code that uses it. */
import { assert, assertEquals } from "@std/assert";
import { CODES } from "../../lib/check/finding_codes.ts";

async function sourcesOf(folder: string): Promise<string> {
  const base = new URL(`../../lib/${folder}/`, import.meta.url);
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(base)) {
    text += isDirectory ? await sourcesOf(`${folder}/${name}`) : await Deno.readTextFile(new URL(name, base));
  }
  return text;
}

Deno.test("every code in the table is one that a probe or the certificate's inspection reports", async () => {
  const sources = (await sourcesOf("check")).replace(/export const CODES = \{[\s\S]*?\n\}/, "") +
    await sourcesOf("tls");
  // signature-sha1 and signature-md5 are put together from the digest's name.
  const used = (code: string) => sources.includes(`"${code}"`) || sources.includes(`\`${code.split("-")[0]}-\${`);
  assertEquals(Object.keys(CODES).filter((code) => !used(code)), []);
});

Deno.test("every code of the certificate's inspection is in the table", async () => {
  const base = new URL("../../lib/tls/x509/", import.meta.url);
  const sources = await Deno.readTextFile(new URL("inspect_chain.ts", base)) +
    await Deno.readTextFile(new URL("certificate_strength.ts", base));
  const codes = [...sources.matchAll(/\bfinding\(\s*"([a-z0-9-]+)",/g)].map((match) => match[1]!);
  assert(codes.length > 10);
  assertEquals(codes.filter((code) => !(code in CODES)), []);
});

Deno.test("codes are words joined by hyphens, and their meanings sentences", () => {
  for (const [code, meaning] of Object.entries(CODES)) {
    assert(/^[a-z0-9]+(-[a-z0-9]+)*$/.test(code), code);
    assert(meaning.endsWith("."), code);
  }
});
