/** Starts the commands of `run_command.ts` as programs. */

const SCRIPT = new URL("./run_command.ts", import.meta.url).pathname;

/** A command line for `Deno.Command`. */
export function commandLine(...args: string[]): string[] {
  return ["run", "-A", "--config", new URL("../../deno.json", import.meta.url).pathname, SCRIPT, ...args];
}

/** What a command did. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; `input` is its standard input, `env` goes on top of the environment. */
export async function runCommand(
  args: readonly string[],
  input = "",
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> {
  const child = new Deno.Command(Deno.execPath(), {
    args: commandLine(...args),
    env: { ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  // A command that ends before it has read its input is as good.
  const written = writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await child.output();
  await written;
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
