/**
 * Linux's figures about a process of the same user, from /proc. Tests use them to measure the server from outside.
 * @module
 */

/** sysconf(_SC_CLK_TCK): 100 on every Linux that Deno runs on. */
const TICKS = 100;

/** The user and system CPU time of all threads of the process, in seconds. The resolution is 10 ms. */
export function cpuSeconds(pid: number): number {
  const stat = Deno.readTextFileSync(`/proc/${pid}/stat`);
  // The name in parentheses may contain any character. utime and stime are the 14th and 15th fields.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

/** The resident memory in bytes. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`));
  if (match === null) throw new Error(`Cannot read the memory of process ${pid}: it has ended`);
  return Number(match[1]) * 1024;
}

/** The open descriptors, each with its target: `21 socket:[4711]`. */
export function descriptors(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  return [...Deno.readDirSync(folder)].flatMap(({ name }) => {
    try {
      return [`${name} ${Deno.readLinkSync(`${folder}/${name}`)}`];
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  });
}

/** The child processes of all threads of a process. The list is empty if the process has ended. */
export function childrenOf(pid: number): number[] {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) =>
      Deno.readTextFileSync(`/proc/${pid}/task/${name}/children`).split(" ").filter((text) => text !== "").map(Number)
    );
  } catch {
    return [];
  }
}
