/**
 * The command `unit`: prints a systemd unit that runs the given command line.
 * @module
 */
import { resolve } from "node:path";
import { loadWithFile, readVariables } from "../config/load_settings.ts";
import { flagOf, type OptionTable } from "../config/option_table.ts";
import { UsageError } from "../errors.ts";
import { validateSettings } from "../service/validate_settings.ts";
import type { Command, Invocation } from "./command_type.ts";
import { write } from "./output.ts";
import { SERVE_OPTIONS } from "./serve.ts";

const OWN = {
  user: { type: "text", value: "NAME", default: "wss", flagOnly: true, help: "The system user that runs the service." },
  directory: {
    type: "path",
    value: "DIR",
    default: "/var/lib/wss",
    flagOnly: true,
    help: "Its working directory, which holds certs/ and wss.json.",
  },
} as const satisfies OptionTable;

/** Options of the service, and of the unit. */
export const UNIT_OPTIONS = { ...SERVE_OPTIONS, ...OWN } as const satisfies OptionTable;

/** The command. */
export const unitCommand: Command = {
  name: "unit",
  usage: "",
  summary: "prints a systemd unit that runs the service with these options",
  details:
    "The unit starts the service with the options that are given here, as a user of its own, with the rights that " +
    "they need and no others. It says in its first lines how to install it.",
  examples: [
    ["wss unit --domain example.com --acme-agree-tos --workers auto > wss.service", "port 443"],
    ["wss unit --mode proxied --app /srv/app/main.ts", "behind a proxy, with an app of yours"],
  ],
  options: UNIT_OPTIONS,
  run(line) {
    write("stdout", unitFile(line, readVariables()));
    return Promise.resolve(0);
  },
};

/** The descriptor limit if no number of connections is given. */
const DESCRIPTORS = 65_536;
/** Seconds after the drain timeout until systemd kills remaining processes. */
const STOP_MARGIN = 20;

/**
 * The unit for a command line.
 * @throws {UsageError} with every mistake
 */
export function unitFile(
  { flags, positionals, problems }: Invocation,
  variables: Readonly<Record<string, string>>,
): string {
  const mistakes = [...problems];
  if (positionals.length > 0) mistakes.push(`unit takes no arguments, and was given ${positionals.join(" ")}`);
  const { settings, given } = loadWithFile(UNIT_OPTIONS, { flags, variables }, mistakes, validateSettings);
  const { mode } = validateSettings(settings, given);
  const { user, directory, workers, drainTimeout, maxConnections } = settings;
  if (!/^[a-z_][a-z0-9_-]{0,31}$/.test(user)) {
    throw new UsageError(`--user: the name of a system user is required, not ${JSON.stringify(user)}`);
  }
  const folder = resolve(directory);
  const port = mode.address.transport === "tcp" ? mode.address.port : undefined;
  const lowPort = (port !== undefined && port > 0 && port < 1024) || settings.domain.length > 0;
  // Connections are nine tenths of the descriptors, less 64.
  const descriptors = maxConnections === undefined
    ? DESCRIPTORS
    : Math.max(DESCRIPTORS, Math.ceil((maxConnections + 64) / 0.9));
  const capability = lowPort ? "CAP_NET_BIND_SERVICE" : "";
  const socketFolder = mode.address.transport === "unix" ? resolve(folder, mode.address.path, "..") : undefined;
  const runtime = socketFolder && /^\/run\/([\w.-]+)$/.exec(socketFolder)?.[1];
  const elsewhere = socketFolder !== undefined && runtime === undefined && !socketFolder.startsWith(folder);
  const writable = [folder, ...(elsewhere ? [socketFolder] : [])];

  return lines([
    "# systemd unit of the wss service.",
    "#",
    `#   useradd --system --home-dir ${folder} --create-home --shell /usr/sbin/nologin ${user}`,
    "#   wss unit … > /etc/systemd/system/wss.service",
    "#   systemctl daemon-reload && systemctl enable --now wss",
    "#",
    "# systemctl reload wss reads certificate and token files again, as their change does.",
    workers === undefined
      ? "# A new version needs a restart; with --workers: systemctl kill -s USR2 --kill-whom=main wss, and nobody is lost."
      : "# A new version: systemctl kill -s USR2 --kill-whom=main wss; new workers take over, and nobody is lost.",
    ...(mode.kind === "direct" && settings.cert !== undefined
      ? [`# The user ${user} must be able to read the certificate and the key.`]
      : []),
    "# The log goes to the journal, which rotates it: journalctl -u wss",
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
    `ExecStart=${commandOf(flags, folder).map(quoted).join(" ")}`,
    "ExecReload=/bin/kill -HUP $MAINPID",
    "Restart=always",
    "RestartSec=1",
    "# The service lets its connections finish; what is left after that is ended.",
    "KillMode=mixed",
    `TimeoutStopSec=${Math.ceil(drainTimeout / 1000) + STOP_MARGIN}`,
    "TimeoutStartSec=infinity",
    "# Connections are nine tenths of it; with --workers it holds for each process.",
    `LimitNOFILE=${descriptors}`,
    "",
    "# What Deno downloaded lies here.",
    "CacheDirectory=wss",
    "Environment=DENO_DIR=%C/wss NO_COLOR=1",
    ...(runtime === undefined ? [] : ["# The folder of the unix socket.", `RuntimeDirectory=${runtime}`]),
    "",
    ...(lowPort ? ["# A port below 1024."] : []),
    `AmbientCapabilities=${capability}`,
    `CapabilityBoundingSet=${capability}`,
    "NoNewPrivileges=yes",
    "ProtectSystem=strict",
    `ReadWritePaths=${writable.map(quoted).join(" ")}`,
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
    "# Not MemoryDenyWriteExecute: V8 compiles at run time.",
    "",
    "[Install]",
    "WantedBy=multi-user.target",
  ]);
}

/** The program with the options that were given, their paths absolute. */
function commandOf(flags: Invocation["flags"], folder: string): string[] {
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

/** Sockets lie in the working directory of the service, what is read lies where the command runs. */
function isRelativeToFolder(key: string): boolean {
  return key === "unix";
}

/** A word of a systemd command line: specifiers, variables and quotes stand for themselves. */
function quoted(word: string): string {
  const escaped = word.replaceAll("\\", "\\\\").replaceAll("%", "%%").replaceAll("$", "$$$$").replaceAll('"', '\\"');
  return /^[\w@+=:,./\\%$-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function lines(all: readonly string[]): string {
  return all.join("\n") + "\n";
}
