/**
 * The options of the processes that run the service.
 * @module
 */
import type { OptionTable } from "./option_table.ts";

/** Options of `serve` that `serve()` does not have. Every command that reads the service's configuration accepts them. */
export const PROCESS_OPTIONS = {
  workers: {
    type: "text",
    numeric: true,
    topic: "Configuration and processes",
    value: "N|auto",
    unset: "one process without a supervisor",
    help:
      "Run N worker processes on one port (auto: one per CPU core) under a supervisor that restarts them. Linux only.",
  },
  workerTimeout: {
    type: "duration",
    topic: "Configuration and processes",
    value: "TIME",
    default: "30s",
    min: 1000,
    help:
      "A worker whose event loop is blocked for this long is replaced. After a tenth of this time, new clients go to other workers.",
  },
} as const satisfies OptionTable;
