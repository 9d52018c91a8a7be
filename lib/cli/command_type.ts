/**
 * The type of a command: data and one function.
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
  /** What it has in common with others, which share one line of the list with it. */
  readonly group?: string;
  /** Further help, printed under the usage. */
  readonly details?: string;
  /** Examples: command lines, each with a description. */
  readonly examples?: readonly (readonly [command: string, what: string])[];
  /** Its options, including those of the service if it accepts them. */
  readonly options: OptionTable;
  /**
   * Runs the command. A UsageError ends the program with exit code 2, a StartError with 1, both without a stack trace.
   * @returns the exit code
   */
  run(line: Invocation): Promise<number>;
}

/** A command line whose flags are known; their values are not parsed yet. */
export interface Invocation {
  readonly flags: RawValues;
  readonly positionals: readonly string[];
  /** Mistakes so far; pass them to `load`, which reports them with its own. */
  readonly problems: readonly string[];
}
