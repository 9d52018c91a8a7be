/**
 * The processes that a test's program leaves behind on purpose: successors, which are nobody's children here.
 * @module
 */

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
