/** The program: `deno run -A main.ts`. @module */
import { run } from "./lib/cli/main.ts";

Deno.exit(await run(Deno.args));
