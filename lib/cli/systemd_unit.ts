/**
 * The command `unit`: prints a systemd unit that runs the service.
 * @module
 */
import { resolve } from "node:path";
import { loadWithFile, readVariables } from "../config/load_settings.ts";
import { flagOf, type OptionTable } from "../config/option_table.ts";
import { UsageError } from "../errors.ts";
import { validateSettings } from "../service/validate_settings.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./standard_streams.ts";
import { SERVE_OPTIONS } from "./serve.ts";

const UNIT_ONLY_OPTIONS = {
  user: { type: "text", value: "NAME", default: "wss", flagOnly: true, help: "The system user that runs the service." },
  directory: {
    type: "path",
    value: "DIR",
    default: "/var/lib/wss",
    flagOnly: true,
    help: "The working directory of the service, for certs/ and wss.json.",
  },
} as const satisfies OptionTable;

/** The options of the service and of the unit. */
export const UNIT_OPTIONS = { ...SERVE_OPTIONS, ...UNIT_ONLY_OPTIONS } as const satisfies OptionTable;

/** The command. */
export const unitCommand: Command = {
  name: "unit",
  usage: "",
  summary: "prints a systemd unit that runs the service with these options",
  details:
    "The unit starts the service with the given options as its own system user, with only the rights that these " +
    "options require. The first lines of the unit describe its installation.",
  examples: [
    ["wss unit --domain example.com --acme-agree-tos --workers auto > wss.service", "port 443"],
    ["wss unit --mode proxied --app /srv/app/main.ts", "behind a proxy, with your own app"],
  ],
  options: UNIT_OPTIONS,
  run(line) {
    write("stdout", generateUnit(line, readVariables()));
    return Promise.resolve(0);
  },
};

/** The descriptor limit without --max-connections. */
const DEFAULT_DESCRIPTORS = 65_536;
/** Seconds after the drain timeout until systemd kills remaining processes. */
const STOP_MARGIN = 20;

/**
 * Generates the unit for a command line.
 * @throws {UsageError} with all problems
 */
export function generateUnit(
  { flags, positionals, problems }: Invocation,
  variables: Readonly<Record<string, string>>,
): string {
  const allProblems = [...problems];
  if (positionals.length > 0) allProblems.push(`unit takes no arguments, but got ${positionals.join(" ")}`);
  const { settings, given } = loadWithFile(UNIT_OPTIONS, { flags, variables }, allProblems, validateSettings);
  const { mode } = validateSettings(settings, given);
  const { user, directory, workers, drainTimeout, maxConnections } = settings;
  if (!/^[a-z_][a-z0-9_-]{0,31}$/.test(user)) {
    throw new UsageError(`--user: must be the name of a system user, not ${JSON.stringify(user)}`);
  }
  const folder = resolve(directory);
  const port = mode.address.transport === "tcp" ? mode.address.port : undefined;
  const lowPort = (port !== undefined && port > 0 && port < 1024) || settings.domain.length > 0;
  // The service allows nine tenths of the descriptors, minus 64, as connections.
  const descriptors = maxConnections === undefined
    ? DEFAULT_DESCRIPTORS
    : Math.max(DEFAULT_DESCRIPTORS, Math.ceil((maxConnections + 64) / 0.9));
  const capability = lowPort ? "CAP_NET_BIND_SERVICE" : "";
  const socketFolder = mode.address.transport === "unix" ? resolve(folder, mode.address.path, "..") : undefined;
  const runtime = socketFolder && /^\/run\/([\w.-]+)$/.exec(socketFolder)?.[1];
  const elsewhere = socketFolder !== undefined && runtime === undefined && !socketFolder.startsWith(folder);
  const writable = [folder, ...(elsewhere ? [socketFolder] : [])];

  return joinLines([
    "# systemd unit of the wss service.",
    "#",
    `#   useradd --system --home-dir ${folder} --create-home --shell /usr/sbin/nologin ${user}`,
    "#   wss unit … > /etc/systemd/system/wss.service",
    "#   systemctl daemon-reload && systemctl enable --now wss",
    "#",
    "# systemctl reload wss reloads certificate and token files, which are also reloaded when they change.",
    workers === undefined
      ? "# To start a new version: systemctl restart wss. With --workers in ExecStart no connection is lost by:\n" +
        "# systemctl kill -s USR2 --kill-whom=main wss"
      : "# To start a new version without losing connections: systemctl kill -s USR2 --kill-whom=main wss",
    ...(mode.kind === "direct" && settings.cert !== undefined
      ? [`# The user ${user} must be able to read the certificate and the key.`]
      : []),
    "# The log is in the journal: journalctl -u wss",
    "",
    "[Unit]",
    "Description=wss WebSocket service",
    "Wants=network-online.target",
    "After=network-online.target",
    "",
    "[Service]",
    "Type=exec",
    `User=${user}`,
    `WorkingDirectory=${folder}`,
    `ExecStart=${buildCommandLine(flags, folder).map(quoteWord).join(" ")}`,
    "ExecReload=/bin/kill -HUP $MAINPID",
    "Restart=always",
    "RestartSec=1",
    "# The service drains its connections. Then systemd kills the remaining processes.",
    "KillMode=mixed",
    `TimeoutStopSec=${Math.ceil(drainTimeout / 1000) + STOP_MARGIN}`,
    "TimeoutStartSec=infinity",
    "# The service allows nine tenths of this limit as connections, with --workers per process.",
    `LimitNOFILE=${descriptors}`,
    "",
    "# The cache of Deno.",
    "CacheDirectory=wss",
    "Environment=DENO_DIR=%C/wss NO_COLOR=1",
    ...(runtime === undefined ? [] : ["# The folder of the unix socket.", `RuntimeDirectory=${runtime}`]),
    "",
    ...(lowPort ? ["# A port below 1024."] : []),
    `AmbientCapabilities=${capability}`,
    `CapabilityBoundingSet=${capability}`,
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    `ReadWritePaths=${writable.map(quoteWord).join(" ")}`,
    "ProtectHome=read-only",
    "PrivateTmp=yes",
    "PrivateDevices=yes",
    "ProtectClock=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "ProtectKernelLogs=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelTunables=yes",
    "ProtectProc=invisible",
    "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "LockPersonality=yes",
    "RemoveIPC=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallErrorNumber=EPERM",
    "UMask=0027",
    "# MemoryDenyWriteExecute is not possible: V8 compiles code at run time.",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ]);
}

/** Builds the command line with the given options and absolute paths. */
function buildCommandLine(flags: Invocation["flags"], folder: string): string[] {
  const program = Deno.build.standalone
    ? [Deno.execPath()]
    : [Deno.execPath(), "run", "-q", "-A", new URL("../../main.ts", import.meta.url).pathname];
  const options: OptionTable = SERVE_OPTIONS;
  const args = [...flags].filter(([key]) => key in options).flatMap(([key, values]) => {
    const option = options[key]!;
    return values.flatMap((value) => {
      if (option.type === "switch") return [value === "false" ? flagOf(key).replace("--", "--no-") : flagOf(key)];
      const isPath = option.type === "path" || (option.type === "module" && /^\.{0,2}\//.test(value));
      return [flagOf(key), isPath ? resolve(isRelativeToFolder(key) ? folder : ".", value) : value];
    });
  });
  return [...program, ...args];
}

/** A socket path is relative to the service's working directory. Other paths are relative to the current directory. */
function isRelativeToFolder(key: string): boolean {
  return key === "unix";
}

/** Quotes a word for systemd. Specifiers, variables and quotes are escaped. */
function quoteWord(word: string): string {
  const escaped = word.replaceAll("\\", "\\\\").replaceAll("%", "%%").replaceAll("$", "$$$$").replaceAll('"', '\\"');
  return /^[\w@+=:,./\\%$-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function joinLines(lines: readonly string[]): string {
  return lines.join("\n") + "\n";
}
