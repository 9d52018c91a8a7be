/**
 * The two failures that the command line catches by name. Everything else keeps its built-in class.
 * @module
 */

/** A mistake in flags, variables, configuration file or options. All of them at once; exit code 2. */
export class UsageError extends Error {
  /** Tells it from other errors. */
  override readonly name = "UsageError";
  /** One sentence a mistake. */
  readonly problems: readonly string[];

  /**
   * Makes the error of one mistake or several.
   * @param problems one sentence a mistake
   */
  constructor(problems: readonly string[] | string) {
    const list = typeof problems === "string" ? [problems] : problems;
    super(list.join("\n"));
    this.problems = list;
  }
}

/** The service (or a command) cannot do its work: port taken, file unreadable, certificate unusable. Exit code 1. */
export class StartError extends Error {
  /** Tells it from other errors. */
  override readonly name = "StartError";
}

/** The message of anything that was thrown. Never throws, whatever that was. */
export function messageOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.message) : String(thrown);
  } catch {
    return `something that cannot be shown as text (${typeof thrown})`;
  }
}

/** The stack of anything that was thrown, or its message where it has none. Never throws. */
export function stackOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.stack ?? thrown.message) : String(thrown);
  } catch {
    return messageOf(thrown);
  }
}

/** An Error for anything that was thrown. Never throws: `Object.create(null)`, for one, cannot become text. */
export function asError(thrown: unknown): Error {
  try {
    if (thrown instanceof Error) return thrown;
  } catch {
    // A proxy may refuse even that question.
  }
  return new Error(messageOf(thrown));
}
