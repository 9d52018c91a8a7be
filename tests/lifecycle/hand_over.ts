/**
 * Helpers for hand-overs by SIGUSR2: they start a program, wait for its successor, and stop all processes. Linux only.
 * @module
 */
import { assert } from "@std/assert";
import { makeFolder, type Program, startProgram } from "../support/program.ts";
import { isAlive, killIn, PID_APP } from "../support/processes.ts";

const TAKEN = /"message":"process (\d+) has taken over: stopping/;

/** Runs a test with a program. Stops the program's successors even if the test fails. */
export async function withProgram(
  args: readonly string[],
  test: (program: Program, folder: string) => Promise<void>,
  files: Readonly<Record<string, string>> = {},
): Promise<void> {
  const folder = await Deno.realPath(await makeFolder({ ...PID_APP, ...files }));
  try {
    await using program = await startProgram(["--app", "./pid.ts", ...args], { folder });
    try {
      await test(program, folder);
    } finally {
      killIn(folder);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Sends SIGUSR2 to a process. Resolves with the successor's process ID once it has taken over. */
export async function handOver(program: Program, pid: number): Promise<number> {
  const from = program.stderr.text.length;
  Deno.kill(pid, "SIGUSR2");
  return await takenOver(program, from);
}

/** Resolves with the successor's process ID once it has taken over. @param from offset in the log to search from */
export async function takenOver(program: Program, from: number): Promise<number> {
  return Number((await program.stderr.until(TAKEN, from))[1]);
}

/** Waits until a process has exited. */
export async function waitForExit(pid: number): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (isAlive(pid)) {
    assert(performance.now() < deadline, `process ${pid} is still running`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
