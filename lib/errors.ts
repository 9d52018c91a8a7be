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

/** The message of anything that was thrown. Never throws itself, whatever a getter or a conversion of it does. */
export function messageOf(error: unknown): string {
  try {
    return error instanceof Error ? String(error.message) : String(error);
  } catch {
    return shownWithoutItsCode(error);
  }
}

/** The stack of anything that was thrown, or its message where it has none. Never throws itself. */
export function stackOf(error: unknown): string {
  try {
    const { stack } = error as { stack?: unknown };
    if (typeof stack === "string" && stack !== "") return stack;
  } catch {
    // A getter that throws, or null: its message then.
  }
  return messageOf(error);
}

/** For what cannot be converted: an object without a prototype, a message that is a getter and throws. */
function shownWithoutItsCode(error: unknown): string {
  try {
    return Deno.inspect(error, { depth: 2, colors: false });
  } catch {
    return "a value that cannot be shown";
  }
}
