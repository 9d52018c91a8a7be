/**
 * The command `dashboard`: prints a Grafana dashboard.
 * @module
 */
import { createDashboard } from "../admin/grafana_dashboard.ts";
import { UsageError } from "../errors.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./standard_streams.ts";

export const dashboardCommand: Command = {
  name: "dashboard",
  usage: "",
  summary: "prints a Grafana dashboard of the service's metrics",
  details:
    "Import it in Grafana under Dashboards, New, Import. Prometheus must scrape /metrics of the --admin address.",
  examples: [["wss dashboard > dashboard.json", "write a file to import"]],
  options: {},
  run({ positionals, problems }: Invocation): Promise<number> {
    const allProblems = [...problems];
    if (positionals.length > 0) allProblems.push(`dashboard takes no arguments, but got ${positionals.join(" ")}`);
    if (allProblems.length > 0) throw new UsageError(allProblems);
    write("stdout", JSON.stringify(createDashboard(), null, 2) + "\n");
    return Promise.resolve(0);
  },
};
