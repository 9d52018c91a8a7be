/**
 * Standard output and error of the commands.
 * @module
 */

const encoder = new TextEncoder();

/** Writes all of the text to standard output. */
export function print(text: string): void {
  write(Deno.stdout, text);
}

/** Writes all of the text to standard error. */
export function printError(text: string): void {
  write(Deno.stderr, text);
}

function write(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  const bytes = encoder.encode(text);
  try {
    for (let written = 0; written < bytes.length;) written += stream.writeSync(bytes.subarray(written));
  } catch (error) {
    // `wss check … | head`: the reader has seen enough.
    if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
  }
}
