/** Runs `check` or `connect` like the program: `deno run -A tests/cli/run_command.ts check URL --json`. */
import { checkCommand } from "../../lib/cli/check.ts";
import { connectCommand } from "../../lib/cli/connect.ts";
import { parseFlags } from "../../lib/config/command_line.ts";
import { StartError, UsageError } from "../../lib/errors.ts";

const [name, ...args] = Deno.args;
const command = [checkCommand, connectCommand].find((one) => one.name === name);
if (command === undefined) throw new Error(`no command ${name}`);
const { values, positionals, problems } = parseFlags(args, command.options);
try {
  Deno.exit(await command.run({ flags: values, positionals, problems }));
} catch (error) {
  if (!(error instanceof UsageError) && !(error instanceof StartError)) throw error;
  await Deno.stderr.write(new TextEncoder().encode(`${error.message}\n`));
  Deno.exit(error instanceof UsageError ? 2 : 1);
}
