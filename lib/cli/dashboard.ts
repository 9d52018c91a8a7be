/**
 * The command `dashboard`: prints a Grafana dashboard.
 * @module
 */
import { grafanaDashboard } from "../admin/grafana_dashboard.ts";
import { UsageError } from "../errors.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./output.ts";

export const dashboardCommand: Command = {
  name: "dashboard",
  usage: "",
  summary: "prints a Grafana dashboard of the service's metrics",
  details: "Grafana takes it under Dashboards, New, Import. Prometheus scrapes /metrics of the --admin address.",
  examples: [["wss dashboard > wss.json", "a file to import"]],
  options: {},
  run({ positionals, problems }: Invocation): Promise<number> {
    const mistakes = [...problems];
    if (positionals.length > 0) mistakes.push(`dashboard takes no arguments, and was given ${positionals.join(" ")}`);
    if (mistakes.length > 0) throw new UsageError(mistakes);
    write("stdout", JSON.stringify(grafanaDashboard(), null, 2) + "\n");
    return Promise.resolve(0);
  },
};
