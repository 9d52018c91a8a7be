import { assertEquals } from "@std/assert";
import { parseFlags } from "../../lib/config/command_line.ts";
import type { OptionTable } from "../../lib/config/option_table.ts";

const TABLE = {
  port: { type: "port", default: "1", value: "PORT", short: "p", help: "." },
  path: { type: "text", repeat: true, help: "." },
  mode: { type: "choice", values: ["a", "b"], help: "." },
  strictProxy: { type: "switch", default: false, short: "s", help: "." },
  page: { type: "switch", help: "." },
  keyPassphrase: { type: "text", variableOnly: true, help: "." },
} as const satisfies OptionTable;

function flags(...args: string[]) {
  const { values, positionals, problems } = parseFlags(args, TABLE);
  return { values: Object.fromEntries(values), positionals, problems };
}

Deno.test("parseFlags reads --name=value, --name value, short flags, the last value, and all values of a repeatable flag", () => {
  assertEquals(flags(), { values: {}, positionals: [], problems: [] });
  assertEquals(flags("--port", "80").values, { port: ["80"] });
  assertEquals(flags("--port=80").values, { port: ["80"] });
  assertEquals(flags("-p", "80").values, { port: ["80"] });
  assertEquals(flags("--port", "80", "--port", "81").values, { port: ["81"] });
  assertEquals(flags("--path", "/a", "--path=/b").values, { path: ["/a", "/b"] });
  // Values remain strings, even if they look like numbers or booleans.
  assertEquals(flags("--path", "007", "--path=true").values, { path: ["007", "true"] });
});

Deno.test("parseFlags reads a switch as on, off or not given", () => {
  assertEquals(flags("--strict-proxy").values, { strictProxy: ["true"] });
  assertEquals(flags("-s").values, { strictProxy: ["true"] });
  assertEquals(flags("--no-page").values, { page: ["false"] });
  assertEquals(flags("--page=false").values, { page: ["false"] });
  assertEquals(flags("--strict-proxy", "rest"), {
    values: { strictProxy: ["true"] },
    positionals: ["rest"],
    problems: [],
  });
});

Deno.test("parseFlags refuses a value after --no-", () => {
  assertEquals(flags("--no-page=true", "--no-port=80").problems, [
    "--no-page takes no value",
    "unknown option --no-port: did you mean --port?",
  ]);
  assertEquals(flags("--", "--no-port=80").problems, []);
});

Deno.test("parseFlags keeps the order and the text of positional arguments, and ends flags at --", () => {
  assertEquals(flags("a", "--port", "1", "0x10", "--", "--port", "b"), {
    values: { port: ["1"] },
    positionals: ["a", "0x10", "--port", "b"],
    problems: [],
  });
});

Deno.test("parseFlags reports all unknown flags with a suggestion, missing values, and secrets", () => {
  assertEquals(
    flags("--prot", "1", "--strct-proxy", "--no-pgae", "--xyzzy", "--port", "--mode=", "--key-passphrase=x").problems,
    [
      "unknown option --prot: did you mean --port?",
      "unknown option --strct-proxy: did you mean --strict-proxy?",
      "unknown option --no-pgae: did you mean --page?",
      "unknown option --xyzzy",
      "--key-passphrase is not accepted on the command line, because every user of the machine can read it there: " +
      "use --key-passphrase-file or the environment variable",
      "--port needs a value: --port PORT",
      "--mode needs a value: --mode a|b",
    ],
  );
});

Deno.test("parseFlags does not repeat the value of a mistyped secret", () => {
  const { problems } = flags("--key-passphrase=hunter2", "--key-pasphrase=hunter2");
  assertEquals(problems.join().includes("hunter2"), false, problems.join());
});
