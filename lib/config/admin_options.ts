/**
 * The options of the admin listener.
 * @module
 */
import type { OptionTable } from "./option_table.ts";

/** Part of the service's options; the commands that call the listener read the first three, too. */
export const ADMIN_OPTIONS = {
  admin: {
    topic: "Admin listener",
    type: "text",
    value: "HOST:PORT|unix:PATH",
    help: "Listen here, too, for the HTTP API, /metrics and /healthz, for backends and operators, not for clients: " +
      "127.0.0.1:9100 or unix:/run/wss/admin.sock. A port alone is on 127.0.0.1.",
  },
  adminKeyFile: {
    topic: "Admin listener",
    type: "path",
    value: "FILE",
    help:
      "Keys for the HTTP API, one a line; # begins a comment. Without it the API answers on a unix socket only. /metrics " +
      "and /healthz need none.",
  },
  adminTls: {
    topic: "Admin listener",
    type: "switch",
    default: false,
    help: "Serve the admin listener over TLS with the service's certificate. Direct mode only.",
  },
  adminMode: {
    topic: "Admin listener",
    type: "text",
    value: "MODE",
    default: "660",
    help:
      "Permissions of the admin listener's unix socket, octal: whoever may write to it may use the API, unless there are keys.",
  },
} as const satisfies OptionTable;
