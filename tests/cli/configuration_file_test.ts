/** Every command that reads the service's configuration accepts every option of the service in it. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { SERVE_OPTIONS } from "../../lib/cli/serve.ts";
import { type Option, variableOf } from "../../lib/config/option_table.ts";
import { runProgram } from "../support/program.ts";

const SAMPLES: Readonly<Partial<Record<Option["type"], string>>> = {
  switch: "true",
  port: "9000",
  count: "5",
  size: "1MiB",
};

/** A text for every option that is not only a flag. Options that exclude each other are included. */
const TEXTS = new Map(
  Object.entries<Option>(SERVE_OPTIONS).filter(([, option]) => !option.flagOnly).map(([key, option]) => {
    const fixed = option.default === false ? "false" : option.default;
    return [key, String(fixed ?? option.values?.[0] ?? SAMPLES[option.type] ?? "x")];
  }),
);

const COMMANDS = [["proxy", "nginx"], ["unit"], ["nodes"]] as const;

for (const command of COMMANDS) {
  const name = command.join(" ");
  Deno.test(`${name} knows every option of the service, in wss.json and as a variable`, async () => {
    assert(TEXTS.has("workers") && TEXTS.has("workerTimeout"));
    const file = await runProgram(command, { files: { "wss.json": JSON.stringify(Object.fromEntries(TEXTS)) } });
    const env = Object.fromEntries([...TEXTS].map(([key, text]) => [variableOf(key), text]));
    const variables = await runProgram(command, { env });
    for (const { stderr } of [file, variables]) {
      assertEquals(stderr.split("\n").filter((line) => /unknown (?:option|variable)|only on the/.test(line)), []);
    }
  });
}

Deno.test("proxy prints the configuration of a service with workers", async () => {
  const files = { "wss.json": '{ "mode": "proxied", "port": 9000, "workers": "4", "workerTimeout": "1m" }' };
  const { code, stdout, stderr } = await runProgram(["proxy", "nginx"], { files });
  assertEquals([code, stderr], [0, ""]);
  assertStringIncludes(stdout, "server 127.0.0.1:9000;");
});
