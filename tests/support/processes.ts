/**
 * Helpers for tests that start real programs.
 * @module
 */

/** Appends the lines of a stream to a list until the stream ends. */
export async function pipeLines(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
  for await (const text of stream.pipeThrough(new TextDecoderStream())) lines.push(text.trimEnd());
}

/**
 * Resolves when the loopback port accepts a connection. Programs have no common way to report that they listen, so this
 * tries to connect every 20 ms, for at most 15 s.
 * @param ended resolves when the program ends; the wait then rejects early
 */
export async function portAccepts(
  port: number,
  ended: Promise<Deno.CommandStatus>,
  hostname = "127.0.0.1",
): Promise<void> {
  let status: Deno.CommandStatus | undefined;
  ended.then((value) => status = value);
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      (await Deno.connect({ hostname, port })).close();
      return;
    } catch (error) {
      if (status !== undefined) throw new Error(`it ended with code ${status.code}`, { cause: error });
      if (Date.now() > deadline) throw new Error("its port does not accept within 60s", { cause: error });
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A program that answers `pid` with its process ID and echoes any other message. */
export const PID_APP = {
  "pid.ts": `import { defineApp } from "@wss/wss";
    export default defineApp({
      message(peer, message) { peer.send(message.text() === "pid" ? Deno.pid : message.rawData); },
    });`,
};

/** Kills every process whose working directory is the given folder. The folder belongs to a single test. */
export function killIn(folder: string): void {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Deno.readLinkSync(`/proc/${name}/cwd`) === folder) Deno.kill(Number(name), "SIGKILL");
    } catch {
      // The process has already ended.
    }
  }
}

/** Whether a process is running. */
export function isAlive(pid: number): boolean {
  try {
    // A zombie is also listed in /proc, but has no working directory.
    Deno.readLinkSync(`/proc/${pid}/cwd`);
    return true;
  } catch {
    return false;
  }
}
