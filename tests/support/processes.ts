/**
 * Small parts for tests that start real programs.
 * @module
 */

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

/** A program that answers `pid` with its process's number, and echoes anything else. */
export const PID_APP = {
  "pid.ts": `import { defineApp } from "@wss/wss";
    export default defineApp({
      message(peer, message) { peer.send(message.text() === "pid" ? Deno.pid : message.rawData); },
    });`,
};

/** Kills every process that works in a folder: that of one test, so that nobody else's is there. */
export function killIn(folder: string): void {
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      if (Deno.readLinkSync(`/proc/${name}/cwd`) === folder) Deno.kill(Number(name), "SIGKILL");
    } catch {
      // It has gone.
    }
  }
}

/** Whether a process is there. */
export function isAlive(pid: number): boolean {
  try {
    // A zombie is in /proc too, without a working directory.
    Deno.readLinkSync(`/proc/${pid}/cwd`);
    return true;
  } catch {
    return false;
  }
}
