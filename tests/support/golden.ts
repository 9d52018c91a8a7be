/**
 * Golden files. Each holds the input, a line of dashes and the expected output. `WSS_UPDATE=1 deno test -A tests/…`
 * writes the actual output into the files. Review the diff before you commit it.
 *
 * The input has the variables (`WSS_PORT=9000`), the configuration file (`{ … }`) and the command line, in this order.
 */
import { assertEquals } from "@std/assert";

const SEPARATOR = "\n----------\n";

/** The input of a golden file. */
export interface GoldenInput {
  /** The words of the command line, without the program's name. */
  readonly args: string[];
  readonly variables: Record<string, string>;
  /** The JSON text of the configuration file, or undefined if there is no file. */
  readonly config: string | undefined;
}

/** The golden files of a folder whose names begin with a prefix. */
export function goldenFiles(prefix: string): URL[] {
  const folder = new URL("../golden/", import.meta.url);
  return [...Deno.readDirSync(folder)]
    .map(({ name }) => name).filter((name) => name.startsWith(prefix) && name.endsWith(".txt")).sort()
    .map((name) => new URL(name, folder));
}

/** Parses the input. Spaces separate words. A word in double quotes is parsed as JSON. */
export function goldenInput(file: URL): GoldenInput {
  const [upper = ""] = Deno.readTextFileSync(file).split(SEPARATOR);
  const variables: Record<string, string> = {};
  let config: string | undefined;
  let args: string[] = [];
  for (const line of upper.split("\n").filter((line) => line !== "")) {
    const variable = /^(WSS_[A-Z_]+)=(.*)$/.exec(line);
    if (variable) variables[variable[1]!] = variable[2]!;
    else if (line.startsWith("{")) config = line;
    else args = (line.match(/"(?:[^"\\]|\\.)*"|\S+/g) ?? []).map((word) => word[0] === '"' ? JSON.parse(word) : word);
  }
  return { args, variables, config };
}

/** Compares the actual output with the expected output, or writes it to the file. */
export function assertGolden(file: URL, outcome: string): void {
  const [upper = "", lower = ""] = Deno.readTextFileSync(file).split(SEPARATOR);
  if (Deno.env.get("WSS_UPDATE") === "1") Deno.writeTextFileSync(file, upper.trimEnd() + SEPARATOR + outcome);
  else assertEquals(outcome, lower, `${file.pathname}: the outcome differs (WSS_UPDATE=1 writes it)`);
}
