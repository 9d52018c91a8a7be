/** The table and the last sentence. */
import { assertEquals } from "@std/assert";
import type { Observation } from "../../lib/check/finding_codes.ts";
import { formatJson, formatObservation, formatVerdict } from "../../lib/check/report.ts";

const refused: Observation = {
  probe: "tcp",
  code: "tcp-refused",
  level: "error",
  fact: "Nothing listens \x1b[31mthere.",
  remedy: "Start it.",
};

Deno.test("an observation: probe, level, fact, code, and the remedy below", () => {
  assertEquals(
    formatObservation(refused, false),
    "tcp         error    Nothing listens \\u001b[31mthere. [tcp-refused]\n                     Start it.",
  );
  assertEquals(
    formatObservation({ probe: "tcp", code: "tcp-ok", level: "ok", fact: "open" }, false),
    "tcp         ok       open",
  );
  assertEquals(formatObservation({ ...refused, level: "warning" }, true).includes("\x1b[33mwarning\x1b[0m"), true);
});

Deno.test("the last sentence", () => {
  const report = { url: "wss://x/", observations: [refused], exit: 2, ms: 1 } as const;
  assertEquals(
    formatVerdict({ ...report, first: refused }, false),
    "A client does not get through: Nothing listens \\u001b[31mthere. What to do: Start it.",
  );
  assertEquals(formatVerdict({ ...report, observations: [] }, false), "Sound: a client gets through.");
  assertEquals(JSON.parse(formatJson({ ...report, first: refused })).first.code, "tcp-refused");
});
