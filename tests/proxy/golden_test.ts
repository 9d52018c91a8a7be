import { assert } from "@std/assert";
import { join } from "node:path";
import { generateProxyConfiguration, proxyCommand } from "../../lib/cli/proxy.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { UsageError } from "../../lib/errors.ts";
import { assertGolden, goldenFiles, type GoldenInput, goldenInput } from "../support/golden.ts";

/** Returns the output of the command: the configuration, or the errors. */
async function runProxyCommand({ args, variables, config }: GoldenInput): Promise<string> {
  const folder = await Deno.makeTempDir();
  try {
    const words = args.slice(1);
    if (config !== undefined) {
      await Deno.writeTextFile(join(folder, "wss.json"), config);
      words.push("--config", join(folder, "wss.json"));
    }
    const { values, positionals, problems } = parseFlags(words, proxyCommand.options);
    return generateProxyConfiguration({ flags: values, positionals, problems }, variables).text;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    return error.problems.map((problem) => `error: ${problem}\n`).join("").replaceAll(`${folder}/`, "");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const files = goldenFiles("proxy_");

Deno.test("proxy: each proxy has golden files", () => {
  for (const name of ["nginx", "apache", "haproxy", "caddy", "error"]) {
    assert(files.some((file) => file.pathname.includes(`/proxy_${name}`)), name);
  }
});

for (const file of files) {
  Deno.test(`proxy prints the configuration or the errors of ${file.pathname.split("/").at(-1)}`, async () => {
    assertGolden(file, await runProxyCommand(goldenInput(file)));
  });
}
