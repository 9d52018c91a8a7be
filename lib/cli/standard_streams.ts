/**
 * Writes to standard output and standard error.
 * @module
 */

const encoder = new TextEncoder();

/** Writes the whole text. A closed pipe is not an error. */
export function write(to: "stdout" | "stderr", text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let written = 0; written < bytes.length;) written += Deno[to].writeSync(bytes.subarray(written));
  } catch (error) {
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}

/** Colours a text if the stream is a terminal and NO_COLOR is not set. */
export function colour(text: string, code: string, on: "stdout" | "stderr" = "stderr"): string {
  return Deno[on].isTerminal() && !Deno.noColor ? `\x1b[${code}m${text}\x1b[0m` : text;
}
