/** Starts the commands of `run_command.ts` as programs. */

const SCRIPT = new URL("./run_command.ts", import.meta.url).pathname;

/** Returns the arguments of `Deno.Command` for a command. */
export function commandLine(...args: string[]): string[] {
  return ["run", "-A", "--config", new URL("../../deno.json", import.meta.url).pathname, SCRIPT, ...args];
}

/** The exit code and the output of a command. */
export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command until it exits. `input` is its standard input, `env` is added to the environment. */
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
  // A command may exit before it has read its input.
  const written = writer.write(new TextEncoder().encode(input)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await child.output();
  await written;
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}
