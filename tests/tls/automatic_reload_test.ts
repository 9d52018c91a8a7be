import { assertEquals, assertStringIncludes } from "@std/assert";
import { delay } from "@std/async/delay";
import { StartError } from "../../lib/errors.ts";
import { createLogger } from "../../lib/log.ts";
import { AutomaticReload } from "../../lib/tls/automatic_reload.ts";
import { until } from "../support/until.ts";

/** A reload that fails with the next of these reasons, and then with the last of them. */
function failing(reasons: readonly string[], retryAfter: number) {
  const lines: string[] = [];
  const log = createLogger({ format: "json", write: (line) => lines.push(line) });
  const state = { attempts: 0, lines };
  const reload = new AutomaticReload(() => {
    const reason = reasons[Math.min(state.attempts++, reasons.length - 1)];
    return Promise.reject(new StartError(reason));
  }, { log, retryAfter });
  return { reload, state };
}

Deno.test("attempts that fail log each new reason, and a further change logs it again", async () => {
  const { reload, state } = failing(["first", "second"], 10);
  await using _reload = reload;
  await reload.changed();
  await until(() => state.attempts >= 3);
  assertEquals(state.lines.map((line) => /(first|second)/.exec(line)?.[0]), ["first", "second"]);
  await reload.changed();
  assertEquals(state.lines.length, 3);
  assertStringIncludes(state.lines[2]!, "second");
});

Deno.test("no attempt follows a success for another reason, or the end of the service", async () => {
  const ends = [(reload: AutomaticReload) => reload.done(), (reload: AutomaticReload) => reload[Symbol.asyncDispose]()];
  for (const end of ends) {
    const { reload, state } = failing(["always"], 50);
    await reload.changed();
    assertEquals(reload.isFailing, true);
    await end(reload);
    await delay(500);
    assertEquals(state.attempts, 1);
  }
});
