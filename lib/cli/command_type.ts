/**
 * The type of a command.
 * @module
 */
import type { RawValues } from "../config/command_line.ts";
import type { OptionTable } from "../config/option_table.ts";

/** A command of the program. Usage and help are generated from it. */
export interface Command {
  readonly name: string;
  /** The positional arguments in the usage: `URL`. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** A description that several commands share. Commands of a group are listed on one line. */
  readonly group?: string;
  /** Further help, printed under the usage. */
  readonly details?: string;
  /** Examples: command lines, each with a description. */
  readonly examples?: readonly (readonly [command: string, what: string])[];
  /** The options, including those of the service if the command accepts them. */
  readonly options: OptionTable;
  /**
   * Runs the command. A UsageError ends the program with exit code 2, a StartError with 1, both without a stack trace.
   * @returns the exit code
   */
  run(line: Invocation): Promise<number>;
}

/** A command line with known flags. The values of the flags are not parsed yet. */
export interface Invocation {
  readonly flags: RawValues;
  readonly positionals: readonly string[];
  /** The problems so far. Pass them to `loadSettings`, which reports them with its own. */
  readonly problems: readonly string[];
}
