/**
 * The program: which command, and what its failures look like.
 * @module
 */
import { parseFlags } from "../config/command_line.ts";
import { nearest } from "../config/nearest_name.ts";
import type { OptionTable } from "../config/option_table.ts";
import { StartError, UsageError } from "../errors.ts";
import { flushLog } from "../log.ts";
import { certCommand } from "./cert.ts";
import { checkCommand } from "./check.ts";
import type { Command } from "./command_type.ts";
import { connectCommand } from "./connect.ts";
import { commandHelp, PROGRAM, programHelp } from "./help.ts";
import { write } from "./output.ts";
import { proxyCommand } from "./proxy.ts";
import { serveCommand } from "./serve.ts";
import { VERSION } from "../version.ts";

/** Every command, in the order of the help. */
export const COMMANDS: readonly Command[] = [serveCommand, checkCommand, connectCommand, certCommand, proxyCommand];

const GENERAL = {
  help: { type: "switch", short: "h", default: false, help: "Show the help." },
  version: { type: "switch", short: "V", default: false, help: "Show the version." },
} as const satisfies OptionTable;

/** Runs a command line; returns the exit code. A mistake of the user is a message, never a stack trace. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    return await dispatch(args).finally(flushLog);
  } catch (error) {
    if (error instanceof UsageError) {
      for (const problem of error.problems) write("stderr", `${PROGRAM}: ${problem}\n`);
      write("stderr", `${PROGRAM}: ${PROGRAM} --help lists what there is\n`);
      return 2;
    }
    if (error instanceof StartError) {
      for (const line of error.message.split("\n")) write("stderr", `${PROGRAM}: ${line}\n`);
      return 1;
    }
    throw error;
  }
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [first = "", ...rest] = args;
  if (first === "help") return help(rest[0]);
  const named = first !== "" && !first.startsWith("-");
  const command = named ? find(first) : serveCommand;
  const { values, positionals, problems } = parseFlags(named ? rest : args, { ...command.options, ...GENERAL });
  if (values.get("help")?.[0] === "true") return help(named ? command.name : undefined);
  if (values.get("version")?.[0] === "true") {
    write("stdout", `${PROGRAM} ${VERSION} (Deno ${Deno.version.deno}, V8 ${Deno.version.v8})\n`);
    return 0;
  }
  return await command.run({ flags: values, positionals, problems });
}

function help(name: string | undefined): number {
  write("stdout", name === undefined ? programHelp(COMMANDS, VERSION) : commandHelp(find(name)));
  return 0;
}

function find(name: string): Command {
  const command = COMMANDS.find((each) => each.name === name);
  if (command) return command;
  const guess = nearest(name, COMMANDS.map((each) => each.name));
  const known = COMMANDS.map((each) => each.name).join(", ");
  throw new UsageError(`unknown command ${name}: ${guess ? `did you mean ${guess}?` : `there are ${known}`}`);
}
