/**
 * Small parts for tests that start real programs.
 * @module
 */

export { freePort } from "./ports.ts";

/** Adds the lines of a stream to a list until it ends. */
export async function pipeLines(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) lines.push(text.trimEnd());
}

/**
 * Resolves when the loopback port accepts a connection. A program says in no common way that it listens, so this asks
 * it, every 20 ms for at most 15 s.
 * @param ended rejects it early: the program's end
 */
export async function portAccepts(port: number, ended: Promise<Deno.CommandStatus>): Promise<void> {
  let status: Deno.CommandStatus | undefined;
  ended.then((value) => status = value);
  const deadline = Date.now() + 15_000;
  for (;;) {
    try {
      (await Deno.connect({ hostname: "127.0.0.1", port })).close();
      return;
    } catch (error) {
      if (status !== undefined) throw new Error(`it ended with code ${status.code}`, { cause: error });
      if (Date.now() > deadline) throw new Error("its port does not accept within 15s", { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
