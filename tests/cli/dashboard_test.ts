/** The dashboard is valid, and each of its queries has a result for the metrics that the service exposes. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { METRICS } from "../../lib/metrics.ts";
import { peerTest } from "../peers/require.ts";
import { makeFolder, runProgram } from "../support/program.ts";
import { startWorkers } from "../workers/workers.ts";

interface Target {
  readonly expr: string;
  readonly legendFormat: string;
  readonly refId: string;
}

interface Dashboard {
  readonly panels: readonly { readonly id: number; readonly title: string; readonly targets: readonly Target[] }[];
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
}

/** A series of the text format: its name, the text between its braces, and the names of its labels. */
interface Series {
  readonly name: string;
  readonly pairs: string;
  readonly labels: ReadonlySet<string>;
}

/** Labels that Prometheus adds to what it scrapes. */
const SCRAPED = ["job", "instance"];

async function dashboard(): Promise<Dashboard> {
  const { code, stdout } = await runProgram(["dashboard"]);
  assertEquals(code, 0);
  return JSON.parse(stdout);
}

/** The series of a service with workers, which exposes every metric and the label `worker`. */
async function exposed(): Promise<Series[]> {
  await using program = await startWorkers(2, ["--admin", "127.0.0.1:0"]);
  const [, admin] = await program.stderr.until(/"admin":"([^"]+)"/);
  const text = await (await fetch(`${admin}/metrics`)).text();
  return text.split("\n").filter((line) => /^\w/.test(line)).map((line) => {
    const [, name = "", pairs = ""] = /^(\w+)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    return { name, pairs, labels: new Set([...pairs.matchAll(/(\w+)="/g)].map(([, label]) => label!)) };
  });
}

/** Metrics that an expression selects, and the labels that it names. */
function namesIn(expression: string): { metrics: string[]; labels: string[] } {
  const text = expression.replaceAll(/"[^"]*"/g, '""').replaceAll(/\[[^\]]*\]/g, "");
  const metrics = [...text.matchAll(/\b(?:wss|process)_\w+/g)].map(([name]) => name);
  const matchers = [...text.matchAll(/(\w+)\s*(?:=~|!~|!=|=)\s*""/g)].map(([, label]) => label!);
  const groups = [...text.matchAll(/\b(?:by|without|on|ignoring)\s*\(([^)]*)\)/g)]
    .flatMap(([, list]) => list!.split(",").map((label) => label.trim()).filter(Boolean));
  return { metrics, labels: [...matchers, ...groups] };
}

/** An expression with its variables replaced, as Grafana sends it. */
function filledIn(expression: string): string {
  return expression.replaceAll("$__rate_interval", "5m").replaceAll(/\$(?:job|instance)\b/g, ".*");
}

Deno.test("the dashboard is valid JSON with unique names of panels and variables", async () => {
  const { panels, templating } = await dashboard();
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const { title, targets } of panels) {
    assert(targets.length > 0, title);
    assertEquals(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
  }
  const variables = new Set(templating.list.map(({ name }) => name));
  const known = [...variables, "__rate_interval", "__all"];
  for (const [, name] of JSON.stringify({ panels, templating }).matchAll(/\$\{?(\w+)/g)) {
    assert(known.includes(name!), `$${name} is not a variable of the dashboard`);
  }
  for (const { expr } of panels.flatMap(({ targets }) => targets)) {
    assertMatch(expr, /\{job=~"\$job", instance=~"\$instance"\}/);
  }
});

peerTest(
  "promtool",
  "each query of the dashboard is valid PromQL, uses existing metrics and labels, and has a result",
  async () => {
    const [{ panels, templating }, series] = await Promise.all([dashboard(), exposed()]);
    assertEquals(
      new Set(series.map(({ name }) => name.replace(/(?<=_seconds)_(?:bucket|sum|count)$/, ""))),
      new Set(Object.keys(METRICS)),
      "the exposed metrics differ from the documented ones",
    );
    const targets = panels.flatMap(({ title, targets }) => targets.map((target) => ({ title, ...target })));
    const asked = [...targets.map(({ expr }) => expr), ...templating.list.map(({ query }) => JSON.stringify(query))];
    const named = new Set(asked.flatMap((expression) => namesIn(expression).metrics));
    assertEquals([...named].filter((name) => !series.some((each) => each.name === name)), []);
    assert(named.size >= 20, `${named.size}`);

    for (const { title, expr, legendFormat } of targets) {
      const { metrics, labels } = namesIn(expr);
      assert(metrics.length > 0, `${title}: ${expr}`);
      const there = new Set([
        ...SCRAPED,
        ...series.filter(({ name }) => metrics.includes(name)).flatMap((each) => [...each.labels]),
      ]);
      const legend = [...legendFormat.matchAll(/\{\{\s*(\w+)\s*\}\}/g)].map(([, label]) => label!);
      assertEquals([...labels, ...legend].filter((label) => !there.has(label)), [], `${title}: ${expr}`);
      // An aggregation keeps only the labels that it groups by.
      const groups = /^\w+ by \(([^)]*)\)/.exec(expr)?.[1]?.split(/,\s*/);
      if (groups !== undefined) {
        assertEquals(legend.filter((label) => !groups.includes(label)), [], `${title}: ${expr}`);
      }
    }

    // Prometheus evaluates each query over ten minutes of series. A query that selects nothing has no count.
    const folder = await makeFolder({
      "rules.json": JSON.stringify({
        groups: [{
          name: "dashboard",
          rules: targets.map(({ expr }, at) => ({ record: `dashboard:${at}`, expr: filledIn(expr) })),
        }],
      }),
      "queries.json": JSON.stringify({
        evaluation_interval: "1m",
        tests: [{
          interval: "1m",
          input_series: series.map(({ name, pairs }) => ({
            series: `${name}{${[pairs, 'job="wss"', 'instance="one"'].filter(Boolean).join()}}`,
            values: "1+1x10",
          })),
          promql_expr_test: targets.map(({ expr }) => ({
            expr: `count(${filledIn(expr)}) > bool 0`,
            eval_time: "10m",
            exp_samples: [{ labels: "{}", value: 1 }],
          })),
        }],
      }),
    });
    try {
      for (const [what, file] of [["check", "rules.json"], ["test", "queries.json"]] as const) {
        const args = [what, "rules", join(folder, file)];
        const { code, stdout, stderr } = await new Deno.Command("promtool", { args, cwd: folder }).output();
        const said = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
        assertEquals(code, 0, said);
        if (what === "check") assertMatch(said, new RegExp(`SUCCESS: ${targets.length} rules found`));
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);
