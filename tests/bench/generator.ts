/**
 * The load generator: a separate process, on a different core from the server. Reads a job as JSON from its argument
 * and writes its measurements to standard output.
 * @module
 */
import { burst, handshake, idle } from "./connections.ts";
import { echo } from "./echo.ts";
import { fanout } from "./fanout.ts";
import type { Job, Measured } from "./job.ts";

const RUNNERS: Readonly<Record<Job["kind"], (job: Job) => Promise<Measured>>> = {
  echo,
  fanout,
  handshake,
  idle,
  burst,
};

const job = JSON.parse(Deno.args[0]!) as Job;
const measured = await RUNNERS[job.kind](job);
Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(measured)));
Deno.exit();
