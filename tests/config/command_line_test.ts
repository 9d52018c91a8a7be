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

Deno.test("flags: with = and without, short ones, the last of several, all of a repeatable one", () => {
  assertEquals(flags(), { values: {}, positionals: [], problems: [] });
  assertEquals(flags("--port", "80").values, { port: ["80"] });
  assertEquals(flags("--port=80").values, { port: ["80"] });
  assertEquals(flags("-p", "80").values, { port: ["80"] });
  assertEquals(flags("--port", "80", "--port", "81").values, { port: ["81"] });
  assertEquals(flags("--path", "/a", "--path=/b").values, { path: ["/a", "/b"] });
  // Texts stay texts, whatever they look like.
  assertEquals(flags("--path", "007", "--path=true").values, { path: ["007", "true"] });
});

Deno.test("flags: a switch is on, off, or not given at all", () => {
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

Deno.test("flags: positional arguments keep their order and their text, and -- ends the flags", () => {
  assertEquals(flags("a", "--port", "1", "0x10", "--", "--port", "b"), {
    values: { port: ["1"] },
    positionals: ["a", "0x10", "--port", "b"],
    problems: [],
  });
});

Deno.test("flags: every mistake is collected: unknown ones with the nearest known, values that are missing, secrets", () => {
  assertEquals(
    flags("--prot", "1", "--strct-proxy", "--no-pgae", "--xyzzy", "--port", "--mode=", "--key-passphrase=x").problems,
    [
      "unknown option --prot: did you mean --port?",
      "unknown option --strct-proxy: did you mean --strict-proxy?",
      "unknown option --no-pgae: did you mean --page?",
      "unknown option --xyzzy",
      "--key-passphrase is not accepted on the command line, where every user of the machine can read it: " +
      "use --key-passphrase-file or the variable",
      "--port needs a value: --port PORT",
      "--mode needs a value: --mode a|b",
    ],
  );
});

Deno.test("flags: a mistyped secret's value is not repeated", () => {
  const { problems } = flags("--key-passphrase=hunter2", "--key-pasphrase=hunter2");
  assertEquals(problems.join().includes("hunter2"), false, problems.join());
});
