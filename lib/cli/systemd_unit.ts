/**
 * The command `unit`: prints a systemd unit that runs the service.
 * @module
 */
import { existsSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAdminAddress } from "../config/admin_address.ts";
import { CONFIG_FILE, loadWithFile, readVariables, resolvePath } from "../config/load_settings.ts";
import { flagOf, type OptionTable, type Values, variableOf } from "../config/option_table.ts";
import { UsageError } from "../errors.ts";
import { parseBroker } from "../hub/brokers/broker_url.ts";
import { shellWord } from "../tls/shell_command.ts";
import type { Command, Invocation } from "./command_type.ts";
import { PROGRAM } from "./help.ts";
import { write } from "./standard_streams.ts";
import { SERVE_OPTIONS, validateServeSettings } from "./serve.ts";

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

// A unit with --check would end at once, and be restarted forever.
const { check: _, ...SERVICE_FLAGS } = SERVE_OPTIONS;

/** The options of the service and of the unit. */
export const UNIT_OPTIONS = {
  ...SERVICE_FLAGS,
  config: { ...SERVE_OPTIONS.config, unset: "wss.json in this folder, or else in --directory" },
  ...UNIT_ONLY_OPTIONS,
} as const satisfies OptionTable;

/** The command. */
export const unitCommand: Command = {
  name: "unit",
  usage: "",
  summary: "prints a systemd unit that runs the service with these options",
  details:
    "The unit starts the service with the given options as its own system user, with only the rights that these " +
    "options require. It contains the settings of the WSS_ variables and the path of the configuration file. The first " +
    "lines of the unit describe its installation.",
  examples: [
    ["wss unit --domain example.com --acme-agree-tos --workers auto > wss.service", "port 443"],
    ["wss unit --mode proxied --app /srv/app/main.ts", "behind a proxy, with your own app"],
  ],
  options: UNIT_OPTIONS,
  run(line) {
    const { text, notes } = generateUnit(line, readVariables(UNIT_OPTIONS));
    for (const note of notes) write("stderr", `${PROGRAM}: ${note}\n`);
    write("stdout", text);
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
): { readonly text: string; readonly notes: readonly string[] } {
  const allProblems = [...problems];
  if (positionals.length > 0) allProblems.push(`unit takes no arguments, but got ${positionals.join(" ")}`);
  const folder = resolve(flags.get("directory")?.at(-1) ?? UNIT_OPTIONS.directory.default);
  const config = findConfigFile(flags, variables, folder);
  const allFlags = new Map([...flags, ...(config === undefined ? [] : [["config", [config]] as const])]);
  const { settings, given, checked, notes } = loadWithFile(
    UNIT_OPTIONS,
    { flags: allFlags, variables },
    allProblems,
    validateServeSettings,
  );
  const { mode } = checked;
  const { user, workers, drainTimeout, maxConnections } = settings;
  const admin = settings.admin === undefined ? undefined : parseAdminAddress(settings.admin);
  const addresses = [
    { label: given.get("unix") ?? "--unix", address: mode.address },
    ...(admin === undefined ? [] : [{ label: given.get("admin") ?? "--admin", address: admin }]),
  ];
  const sockets = addresses.flatMap(({ label, address }) =>
    address.transport === "unix"
      ? [{ label, path: resolve(folder, address.path).replace(/^\/var\/run\//, "/run/") }]
      : []
  );
  const environment = [...given].filter(([key, label]) => label === variableOf(key))
    .map(([key]) => [variableOf(key), absolutePath(key, variables[variableOf(key)]!)] as const);
  const command = buildCommandLine(allFlags);
  const unusable = [
    ...(/^[a-z_][a-z0-9_-]{0,31}$/.test(user)
      ? []
      : [`--user: must be the name of a system user, not ${JSON.stringify(user)}`]),
    ...sockets.flatMap((socket) => findUnusableFolder(socket, user)),
    ...findSecrets(settings, given),
    ...findControlCharacters([
      ...[...allFlags].map(([key, values]) => [flagOf(key), values.join()] as const),
      ...environment,
      ...sockets.map(({ label, path }) => [label, path] as const),
    ]),
  ];
  if (unusable.length > 0) throw new UsageError(unusable);

  const ports = addresses.flatMap(({ address }) => address.transport === "tcp" ? [address.port] : []);
  if (mode.kind === "direct" && mode.certificate.kind === "acme") ports.push(mode.certificate.acme.httpPort);
  const lowPort = ports.some((port) => port > 0 && port < 1024);
  // The service allows nine tenths of the descriptors, minus 64, as connections.
  const descriptors = maxConnections === undefined
    ? DEFAULT_DESCRIPTORS
    : Math.max(DEFAULT_DESCRIPTORS, Math.ceil((maxConnections + 64) / 0.9));
  const capability = lowPort ? "CAP_NET_BIND_SERVICE" : "";
  const folders = [...new Set(sockets.map(({ path }) => dirname(path)))];
  // systemd creates the folders below /run at each start.
  const runtime = folders.filter((each) => isBelow(each, "/run")).map((each) => each.slice("/run/".length));
  const existing = folders.filter((each) => !isBelow(each, "/run") && each !== folder);
  const writable = [folder, ...existing.filter((each) => !isBelow(each, folder))];
  const readable = [
    ...(mode.kind === "direct" && settings.cert !== undefined ? ["the certificate and the key"] : []),
    ...(config === undefined ? [] : [config]),
  ];

  const unreadable = user === "root" ? [] : programFiles().filter((file) => !isReadableByAll(file));

  const text = joinLines([
    "# systemd unit of the wss service.",
    "#",
    `#   useradd --system --home-dir ${shellWord(folder)} --create-home --shell /usr/sbin/nologin ${user}`,
    "#   wss unit … > /etc/systemd/system/wss.service",
    "#   systemctl daemon-reload && systemctl enable --now wss",
    "#",
    "# systemctl reload wss reloads certificate and token files, which are also reloaded when they change.",
    workers === undefined
      ? "# To start a new version: systemctl restart wss. With --workers in ExecStart, this command loses no connection:\n" +
        "# systemctl kill -s USR2 --kill-whom=main wss"
      : "# To start a new version without losing connections: systemctl kill -s USR2 --kill-whom=main wss",
    ...(readable.length > 0 ? [`# The user ${user} must be able to read ${readable.join(" and ")}.`] : []),
    ...unreadable.map((file) => `# The user ${user} must be able to read ${file}, and to open the folders above it.`),
    ...existing.map((each) =>
      `# The folder ${each} must exist, and the user ${user} must be able to create files in it.`
    ),
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
    `WorkingDirectory=${folder.replaceAll("%", "%%")}`,
    ...environment.map(([name, text]) => `Environment=${quoteWord(`${name}=${text}`)}`),
    `ExecStart=${command.map((word) => quoteWord(word.replaceAll("$", "$$$$"))).join(" ")}`,
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
    ...(runtime.length === 0
      ? []
      : ["# The folders of the unix sockets.", `RuntimeDirectory=${runtime.map(quoteWord).join(" ")}`]),
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
  return { text, notes };
}

/**
 * Finds the configuration file that the unit names: the one that is given, `wss.json` in the current folder, or the one
 * that the service would find in its working directory.
 */
function findConfigFile(
  flags: Invocation["flags"],
  variables: Readonly<Record<string, string>>,
  folder: string,
): string | undefined {
  const named = flags.get("config")?.at(-1) ?? (variables.WSS_CONFIG || undefined);
  if (named !== undefined) return resolve(named);
  return [resolve(CONFIG_FILE), join(folder, CONFIG_FILE)].find((path) => existsSync(path));
}

/** Refuses a folder in which the service cannot create its socket, or in which other processes do not see it. */
function findUnusableFolder(
  { label, path }: { readonly label: string; readonly path: string },
  user: string,
): string[] {
  const remedy = `give a path in a folder that the unit creates: /run/wss/${basename(path)}`;
  if (dirname(path) === "/run" && user !== "root") {
    return [`${label}: only root may create files in /run, so the service cannot create ${path}; ${remedy}`];
  }
  if (isBelow(path, "/tmp") || isBelow(path, "/var/tmp")) {
    return [`${label}: the service has its own /tmp (PrivateTmp), so other programs do not see ${path}; ${remedy}`];
  }
  return [];
}

/** Refuses secrets in options and variables, because every user of the machine can read a unit. */
function findSecrets(settings: Values<typeof UNIT_OPTIONS>, given: ReadonlyMap<string, string>): string[] {
  const problems: string[] = [];
  const refuse = (key: string, what: string, remedy: string) => {
    const label = given.get(key);
    if (label !== flagOf(key) && label !== variableOf(key)) return;
    problems.push(
      `${label}: ${what} is not written into the unit, which every user of the machine can read: ${remedy}`,
    );
  };
  if (settings.keyPassphrase !== undefined) {
    refuse("keyPassphrase", "the passphrase", "use --key-passphrase-file");
  }
  if (settings.broker !== undefined && parseBroker(settings.broker).credentials !== undefined) {
    refuse("broker", "a URL with credentials", "use --broker-credentials-file");
  }
  return problems;
}

/** Refuses control characters, because a line break would add a line to the unit. The values may be secret. */
function findControlCharacters(values: readonly (readonly [label: string, text: string])[]): string[] {
  // deno-lint-ignore no-control-regex -- these are refused
  const labels = values.filter(([, text]) => /[\u0000-\u001f\u007f]/.test(text)).map(([label]) => label);
  return [...new Set(labels)].map((label) => `${label}: a value without control characters is required in a unit`);
}

function isBelow(path: string, folder: string): boolean {
  return path.startsWith(`${folder}/`);
}

/** Builds the command line with the given options and absolute paths. */
function buildCommandLine(flags: Invocation["flags"]): string[] {
  const [program, ...modules] = programFiles();
  const start = [program!, ...modules.flatMap((module) => ["run", "-q", "-A", module])];
  const options: OptionTable = SERVE_OPTIONS;
  const args = [...flags].filter(([key]) => key in options).flatMap(([key, values]) => {
    if (options[key]!.type === "switch") {
      return values.map((value) => value === "false" ? flagOf(key).replace("--", "--no-") : flagOf(key));
    }
    return values.flatMap((value) => [flagOf(key), absolutePath(key, value)]);
  });
  return [...start, ...args];
}

/** The program that systemd starts: the compiled program, or Deno and the module that it runs. */
function programFiles(): readonly string[] {
  const program = Deno.execPath();
  return Deno.build.standalone ? [program] : [program, fileURLToPath(new URL("../../main.ts", import.meta.url))];
}

/** Whether every user may read a file, and search the folders above it. */
function isReadableByAll(file: string): boolean {
  for (let path = file, required = 0o004;; path = dirname(path), required = 0o001) {
    if ((statSync(path).mode & required) === 0) return false;
    if (path === dirname(path)) return true;
  }
}

/**
 * Resolves a path from the current directory. The path of a socket stays relative to the service's working directory.
 * Other values are returned unchanged.
 */
function absolutePath(key: string, value: string): string {
  const option = (SERVE_OPTIONS as OptionTable)[key]!;
  return key === "unix" || option.type === "address" ? value : resolvePath(option, Deno.cwd(), value);
}

/** Quotes a word for systemd. Specifiers and quotes are escaped. */
function quoteWord(word: string): string {
  const escaped = word.replaceAll("\\", "\\\\").replaceAll("%", "%%").replaceAll('"', '\\"');
  return /^[\w@+=:,./\\%$-]+$/.test(escaped) ? escaped : `"${escaped}"`;
}

function joinLines(lines: readonly string[]): string {
  return lines.join("\n") + "\n";
}
