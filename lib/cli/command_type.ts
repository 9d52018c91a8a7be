/**
 * What a command is: data and one function.
 * @module
 */
import type { RawValues } from "../config/command_line.ts";
import type { OptionTable } from "../config/option_table.ts";

/** A command of the program. Usage and help are made from it. */
export interface Command {
  readonly name: string;
  /** What follows the name on the command line, without the options: `URL`. */
  readonly usage: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /** What it has in common with others, which share one line of the list with it. */
  readonly group?: string;
  /** Further help, printed under the usage. */
  readonly details?: string;
  /** Commands to copy, each with what it does. */
  readonly examples?: readonly (readonly [command: string, what: string])[];
  /** Its options, those of the service included where it takes them. */
  readonly options: OptionTable;
  /**
   * Runs it. What it throws as UsageError ends with exit code 2, as StartError with 1, both without a stack trace.
   * @returns the exit code
   */
  run(line: Invocation): Promise<number>;
}

/** A command line whose flags are known; their values are not read yet. */
export interface Invocation {
  readonly flags: RawValues;
  readonly positionals: readonly string[];
  /** Mistakes seen so far; hand them to `load`, which reports them with its own. */
  readonly problems: readonly string[];
}
