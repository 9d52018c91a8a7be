/** The table and the conclusion of a report. */
import { assert, assertEquals } from "@std/assert";
import type { Observation } from "../../lib/check/finding_codes.ts";
import { formatJson, formatObservation, formatVerdict } from "../../lib/check/report.ts";
import type { Report } from "../../lib/check/run_check.ts";

const refused: Observation = {
  probe: "tcp",
  code: "tcp-refused",
  level: "error",
  fact: "Nothing listens \x1b[31mthere.",
  remedy: "Start it.",
};
const PLAIN = { colour: false };

const report: Report = {
  schema: 1,
  url: "wss://x/",
  verdict: "unreachable",
  exit: 2,
  first: refused,
  observations: [refused],
  unfinished: [],
  ms: 1,
};

Deno.test("formats an observation as a row, with the remedy below it", () => {
  assertEquals(
    formatObservation(refused, PLAIN),
    "tcp         error    Nothing listens \\u001b[31mthere. [tcp-refused]\n                     Start it.",
  );
  assertEquals(
    formatObservation({ probe: "tcp", code: "tcp-ok", level: "ok", fact: "open" }, PLAIN),
    "tcp         ok       open",
  );
  const warning = formatObservation({ ...refused, level: "warning" }, { colour: true });
  assert(warning.includes("\x1b[33mwarning\x1b[0m"));
});

Deno.test("formats the conclusion as a sentence, with the remedy as the last paragraph", () => {
  assertEquals(
    formatVerdict(report, PLAIN),
    "A client cannot reach the endpoint: Nothing listens \\u001b[31mthere.\n\nStart it.",
  );
  assertEquals(
    formatVerdict({ ...report, verdict: "errors", for: "wechat" }, PLAIN).split(":")[0],
    "A WeChat mini program cannot connect",
  );
  const untried: Observation = { ...refused, code: "tcp-not-tried" };
  assertEquals(
    formatVerdict({ ...report, first: untried }, PLAIN).split(":")[0],
    "This machine cannot reach the endpoint",
  );
  const { first: _first, ...rest } = report;
  assertEquals(
    formatVerdict({ ...rest, verdict: "sound", observations: [] }, PLAIN),
    "No problems found: a client can connect.",
  );
  assertEquals(JSON.parse(formatJson(report)).first.code, "tcp-refused");
});

Deno.test("wraps lines at the width of the terminal and keeps every word whole", () => {
  const fact = "The answer is 服务器域名配置 and a word-that-is-longer-than-any-narrow-terminal-has-columns to be cut.";
  const long: Observation = { ...refused, fact, remedy: "Do this, then that, and after that the third thing." };
  const squeeze = (text: string) => text.replace(/\s/g, "");
  for (const width of [200, 120, 100, 80, 60, 50, 40, 20]) {
    const style = { colour: false, width };
    for (const text of [formatObservation(long, style), formatVerdict({ ...report, first: long }, style)]) {
      for (const line of text.split("\n")) {
        const wide = [...line].filter((character) => character > "\u2e80").length;
        const oneWord = !/\S\s\S/.test(line);
        assert(oneWord || [...line].length + wide <= width, `${width}: ${line}`);
      }
      assert(squeeze(text).includes(squeeze(fact)), `${width}: ${text}`);
      assert(squeeze(text).includes(squeeze(long.remedy!)), `${width}: ${text}`);
      assert(text.includes("word-that-is-longer-than-any-narrow-terminal-has-columns"), `${width}: ${text}`);
    }
  }
});
