/**
 * The options of the admin listener.
 * @module
 */
import type { OptionTable } from "./option_table.ts";

/** Part of the service's options. The commands that call the admin listener also read the first three. */
export const ADMIN_OPTIONS = {
  admin: {
    topic: "Admin listener",
    type: "address",
    value: "HOST:PORT|unix:PATH",
    help:
      "Also listen on this address for the HTTP API, /metrics and /healthz, which are for backends and operators, not " +
      "for clients: 127.0.0.1:9100 or unix:/run/wss/admin.sock. A port alone means 127.0.0.1.",
  },
  adminKeyFile: {
    topic: "Admin listener",
    type: "path",
    value: "FILE",
    help:
      "Keys for the HTTP API, one per line; # begins a comment. Without keys the API answers only on a unix socket. " +
      "/metrics and /healthz need no key.",
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
      "Permissions of the admin listener's unix socket, octal. Without keys, anyone who may write to the socket may use the API.",
  },
} as const satisfies OptionTable;
