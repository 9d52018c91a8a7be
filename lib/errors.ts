/**
 * The two error classes that the command line catches. All other errors keep their built-in class.
 * @module
 */

/** Invalid flags, variables, configuration file or options; one error reports all of them. Exit code 2. */
export class UsageError extends Error {
  /** The name of the class. */
  override readonly name = "UsageError";
  /** One sentence for each problem. */
  readonly problems: readonly string[];

  /**
   * Creates the error from one problem or several.
   * @param problems one sentence for each problem
   */
  constructor(problems: readonly string[] | string) {
    const list = typeof problems === "string" ? [problems] : problems;
    super(list.join("\n"));
    this.problems = list;
  }
}

/** The service or a command cannot start or continue: port in use, file unreadable, certificate unusable. Exit code 1. */
export class StartError extends Error {
  /** The name of the class. */
  override readonly name = "StartError";
}

/** Returns the message of any thrown value. Never throws. */
export function messageOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.message) : String(thrown);
  } catch {
    return `a value that cannot be converted to text (${typeof thrown})`;
  }
}

/** Explains why a file cannot be read, in words that complete "Cannot read FILE: ". */
export function readFailure(error: unknown): string {
  if (error instanceof Deno.errors.NotFound) return "there is no such file";
  if (error instanceof Deno.errors.IsADirectory) return "it is a folder; a file is required";
  if (error instanceof Deno.errors.PermissionDenied) return "this user may not read it";
  return messageOf(error);
}

/** Returns the stack of any thrown value, or its message if it has no stack. Never throws. */
export function stackOf(thrown: unknown): string {
  try {
    return thrown instanceof Error ? String(thrown.stack ?? thrown.message) : String(thrown);
  } catch {
    return messageOf(thrown);
  }
}

/**
 * Converts any thrown value to an Error. Never throws, even for values such as `Object.create(null)` that cannot be
 * converted to text.
 */
export function asError(thrown: unknown): Error {
  try {
    if (thrown instanceof Error) return thrown;
  } catch {
    // A Proxy may throw on `instanceof`.
  }
  return new Error(messageOf(thrown));
}

/**
 * Runs steps one after the other. A step that fails does not prevent the next ones.
 * @throws the error of the step that failed
 * @throws {StartError} with the messages of all errors, if several steps failed
 */
export async function runEach(...steps: readonly (() => unknown)[]): Promise<void> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 0) return;
  if (failures.length === 1) throw failures[0];
  throw new StartError(failures.map(messageOf).join("; "), { cause: new AggregateError(failures) });
}
