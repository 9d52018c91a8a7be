/** The program: `deno run -A main.ts`. @module */
import { run } from "./lib/cli/run.ts";

Deno.exit(await run(Deno.args));
