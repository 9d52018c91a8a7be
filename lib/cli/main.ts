/**
 * The command line of the program: runs the selected command and reports its errors.
 * @module
 */
import { parseFlags } from "../config/command_line.ts";
import { findNearestName } from "../config/nearest_name.ts";
import type { OptionTable } from "../config/option_table.ts";
import { StartError, UsageError } from "../errors.ts";
import { flushLog } from "../log.ts";
import type { Command } from "./command_type.ts";
import { commandHelp, PROGRAM, programHelp } from "./help.ts";
import { write } from "./standard_streams.ts";
import { VERSION } from "../version.ts";

/**
 * The commands in the order of the help. A command is loaded only when it runs, because each needs different modules.
 */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import("./serve.ts")).serveCommand,
  check: async () => (await import("./check.ts")).checkCommand,
  connect: async () => (await import("./connect.ts")).connectCommand,
  cert: async () => (await import("./cert.ts")).certCommand,
  proxy: async () => (await import("./proxy.ts")).proxyCommand,
  unit: async () => (await import("./systemd_unit.ts")).unitCommand,
  publish: async () => (await import("./admin_commands.ts")).publishCommand,
  nodes: async () => (await import("./admin_commands.ts")).nodesCommand,
  topics: async () => (await import("./admin_commands.ts")).topicsCommand,
  presence: async () => (await import("./admin_commands.ts")).presenceCommand,
  disconnect: async () => (await import("./admin_commands.ts")).disconnectCommand,
  dashboard: async () => (await import("./dashboard.ts")).dashboardCommand,
};

/** Loads all commands, for the help. */
export async function loadCommands(): Promise<Command[]> {
  return await Promise.all(Object.values(COMMANDS).map((load) => load()));
}

const GENERAL = {
  help: { type: "switch", short: "h", default: false, help: "Show the help." },
  version: { type: "switch", short: "V", default: false, help: "Show the version." },
} as const satisfies OptionTable;

/** Runs a command line and returns the exit code. A usage error prints a message without a stack trace. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args).finally(flushLog);
  } catch (error) {
    if (error instanceof UsageError) {
      for (const problem of error.problems) write("stderr", `${PROGRAM}: ${problem}\n`);
      // The list of options does not help if a file cannot be read.
      if (!error.problems.every((problem) => problem.startsWith("Cannot read "))) {
        write("stderr", `${PROGRAM}: ${describeHelp(args)}\n`);
      }
      return 2;
    }
    if (error instanceof StartError) {
      for (const line of error.message.split("\n")) write("stderr", `${PROGRAM}: ${line}\n`);
      return 1;
    }
    throw error;
  }
}

/** Returns a reference to the help of the command, or of the program if the command does not exist. */
function describeHelp([first = ""]: readonly string[]): string {
  if (first === "" || first.startsWith("-")) return `${PROGRAM} serve --help lists the options`;
  if (!Object.hasOwn(COMMANDS, first)) return `${PROGRAM} --help lists the commands`;
  return `${PROGRAM} ${first} --help lists the options`;
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [first = "", ...rest] = args;
  if (first === "help") return await printHelp(rest[0]);
  const named = first !== "" && !first.startsWith("-");
  const command = await findCommand(named ? first : "serve");
  const { values, positionals, problems } = parseFlags(named ? rest : args, { ...command.options, ...GENERAL });
  if (values.get("help")?.[0] === "true") return await printHelp(named ? command.name : undefined);
  if (values.get("version")?.[0] === "true") {
    write("stdout", `${PROGRAM} ${VERSION} (Deno ${Deno.version.deno}, V8 ${Deno.version.v8})\n`);
    return 0;
  }
  return await command.run({ flags: values, positionals, problems });
}

async function printHelp(name: string | undefined): Promise<number> {
  const text = name === undefined ? programHelp(await loadCommands(), VERSION) : commandHelp(await findCommand(name));
  write("stdout", text);
  return 0;
}

async function findCommand(name: string): Promise<Command> {
  if (Object.hasOwn(COMMANDS, name)) return await COMMANDS[name]!();
  const names = Object.keys(COMMANDS);
  const guess = findNearestName(name, names);
  throw new UsageError(
    `unknown command ${name}: ${guess ? `did you mean ${guess}?` : `the commands are ${names.join(", ")}`}`,
  );
}
