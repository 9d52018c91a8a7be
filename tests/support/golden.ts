/**
 * Golden files: what goes in, a line of dashes, what comes out. `WSS_UPDATE=1 deno test -A tests/…` writes the
 * outcome into them; read the difference before you commit it.
 *
 * What goes in: variables (`WSS_PORT=9000`), the configuration file (`{ … }`), then the command line, one a line.
 */
import { assertEquals } from "@std/assert";

const SEPARATOR = "\n----------\n";

/** What goes in. */
export interface GoldenInput {
  /** The words of the command line, the program's name not among them. */
  readonly args: string[];
  readonly variables: Record<string, string>;
  /** JSON text; undefined: there is no file. */
  readonly config: string | undefined;
}

/** The golden files of a folder whose name begins so. */
export function goldenFiles(prefix: string): URL[] {
  const folder = new URL("../golden/", import.meta.url);
  return [...Deno.readDirSync(folder)]
    .map(({ name }) => name).filter((name) => name.startsWith(prefix) && name.endsWith(".txt")).sort()
    .map((name) => new URL(name, folder));
}

/** Takes the upper part apart. Words are separated by spaces; one in double quotes is read as JSON. */
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

/** Compares with the lower part, or writes it. */
export function assertGolden(file: URL, outcome: string): void {
  const [upper = "", lower = ""] = Deno.readTextFileSync(file).split(SEPARATOR);
  if (Deno.env.get("WSS_UPDATE") === "1") Deno.writeTextFileSync(file, upper.trimEnd() + SEPARATOR + outcome);
  else assertEquals(outcome, lower, `${file.pathname}: the outcome differs (WSS_UPDATE=1 writes it)`);
}
