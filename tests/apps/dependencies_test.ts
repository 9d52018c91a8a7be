/** Apps and programs of other projects, which have their own dependencies. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Client } from "../support/client.ts";
import { makeFolder, ROOT, runProgram, startProgram } from "../support/program.ts";

/** Imports a package by a name that only the project's configuration maps. */
const APP = `import { base64url } from "tokens";
export default { message: (peer, message) => void peer.send(base64url.encode(message.text())) };
`;

const PROJECTS = {
  "deno.json": { imports: { tokens: "npm:jose@6.2.17" } },
  "package.json": { dependencies: { tokens: "npm:jose@6.2.17" } },
};

for (const [name, project] of Object.entries(PROJECTS)) {
  Deno.test(`an app with its own ${name}: the error explains the fix, and the fix works`, async () => {
    const folder = await makeFolder({ "my_app.ts": APP, [name]: JSON.stringify(project) });
    try {
      const refused = await runProgram(["--app", "./my_app.ts", "--mode", "proxied"], { folder });
      assertEquals(refused.code, 1);
      assertStringIncludes(refused.stderr, "Cannot load the app ./my_app.ts: ");
      const config = JSON.parse(/only a package\.json\): (\{.*\})$/m.exec(refused.stderr)![1]!);
      const words = /start with: deno (.*)$/m.exec(refused.stderr)![1]!.split(" ");
      assert(words.includes(join(ROOT, "main.ts")), words.join(" "));
      const merged = name === "deno.json" ? { ...project, ...config } : config;
      await Deno.writeTextFile(join(folder, "deno.json"), JSON.stringify(merged));
      const binary = Deno.execPath();
      await using program = await startProgram([...words, "--mode", "proxied"], { folder, binary });
      await using client = await Client.open(program.url);
      assertEquals(await client.ask("tom"), "dG9t");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

Deno.test("another project can import the library as documented", async () => {
  const readme = await Deno.readTextFile(join(ROOT, "lib/apps/README.md"));
  const config = /```json\n(\{ "links"[^`]*)```/.exec(readme)![1]!.replace("../wss", ROOT);
  const folder = await makeFolder({
    "deno.json": config,
    "main.ts": `import { defineApp, serve } from "@wss/wss";
const app = defineApp({ message: (peer, message) => void peer.send(message.text()) });
const service = await serve(app, { mode: "proxied", port: 0 });
console.log(service.url);
await service.stop();
`,
  });
  try {
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "main.ts"],
      cwd: folder,
      env: { NO_COLOR: "1" },
    }).output();
    const decoder = new TextDecoder();
    assertEquals([code, decoder.decode(stderr)], [0, ""]);
    assert(/^ws:\/\/127\.0\.0\.1:\d+\//.test(decoder.decode(stdout)));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
