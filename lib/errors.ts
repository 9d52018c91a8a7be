/**
 * The two failures that the command line catches by name. Everything else keeps its built-in class.
 * @module
 */

/** A mistake in flags, variables, configuration file or options. All of them at once; exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  /** One sentence a mistake. */
  readonly problems: readonly string[];

  constructor(problems: readonly string[] | string) {
    const list = typeof problems === "string" ? [problems] : problems;
    super(list.join("\n"));
    this.problems = list;
  }
}

/** The service (or a command) cannot do its work: port taken, file unreadable, certificate unusable. Exit code 1. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
