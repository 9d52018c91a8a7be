/**
 * Handing the port over to a new process of the same command line: the new binary, the new code.
 * @module
 */
import { readHandover } from "../config/load_settings.ts";
import { messageOf, StartError, UsageError } from "../errors.ts";
import type { RunningService } from "../service/running_service.ts";

/** What the successor is told through the environment: where its predecessor waits, and the port to take. */
interface Note {
  /** Where to report, on loopback. */
  readonly reportTo: number;
  /** Shows that the report comes from the successor. */
  readonly token: string;
  /** The port to take over; 0 for a unix socket. */
  readonly port: number;
}

/** How long a successor may take until it listens, ms. */
const PATIENCE = 30_000;

/**
 * Starts a successor and waits until it listens on the same address; for `Service.handOver`.
 * @param signal ends the successor that does not listen yet: this service is to stop, and with it what it started
 * @throws {StartError} why there is none; this process then goes on serving.
 */
export async function handOver(service: RunningService, signal: AbortSignal): Promise<{ pid: number }> {
  const fail = (why: string, cause?: unknown) => new StartError(`Cannot hand over: ${why}`, { cause });
  if (signal.aborted) throw fail("the service is stopping");
  const [program, ...args] = commandLine();
  using reports = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const token = crypto.randomUUID();
  const port = "port" in service.addr ? service.addr.port : 0;
  const note: Note = { reportTo: reports.addr.port, token, port };
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program!, {
      args,
      env: { WSS_HANDOVER: JSON.stringify(note) },
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
  } catch (error) {
    throw fail(`${program} cannot be started (${messageOf(error)}); --allow-run is needed`, error);
  }
  child.unref();
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => late.reject(fail(`the successor did not listen within ${PATIENCE / 1000} s`)),
    PATIENCE,
  );
  const stop = () => late.reject(fail("the service is stopping"));
  signal.addEventListener("abort", stop);
  const died = child.status.then(({ code }) => {
    throw fail(`the successor ended with exit code ${code}; its own output says why`);
  });
  try {
    await Promise.race([reported(reports, token), died, late.promise]);
  } catch (error) {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended by itself.
    }
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    died.catch(() => {});
  }
  return { pid: child.pid };
}

/** The port that a predecessor hands over, or undefined where there is none. */
export function takeover(): { readonly port: number; reportListening(): Promise<void> } | undefined {
  const text = readHandover();
  if (text === undefined) return undefined;
  const note = readNote(text);
  return {
    port: note.port,
    async reportListening() {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: note.reportTo });
      await connection.write(new TextEncoder().encode(note.token));
    },
  };
}

/** What a predecessor wrote. @throws {UsageError} when somebody else did */
function readNote(text: string): Note {
  try {
    const { reportTo, token, port } = JSON.parse(text) as Partial<Note>;
    if (typeof reportTo === "number" && typeof token === "string" && typeof port === "number") {
      return { reportTo, token, port };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  throw new UsageError("WSS_HANDOVER is what one process of the service tells the next (SIGUSR2): unset it");
}

/** Resolves when somebody who knows the token has connected. */
async function reported(reports: Deno.Listener, token: string): Promise<void> {
  const buffer = new Uint8Array(token.length);
  for await (const connection of reports) {
    using peer = connection;
    const read = await peer.read(buffer).catch(() => null);
    if (read === token.length && new TextDecoder().decode(buffer) === token) return;
  }
}

/** This process's own command line: with `deno run` the flags of Deno stand in it too. */
export function commandLine(): string[] {
  if (Deno.build.standalone) return [Deno.execPath(), ...Deno.args];
  try {
    const words = Deno.readTextFileSync(`/proc/${Deno.pid}/cmdline`).split("\0").slice(0, -1);
    return [Deno.execPath(), ...words.slice(1)];
  } catch (error) {
    throw new StartError(`Cannot start another process: the command line cannot be read (${messageOf(error)})`, {
      cause: error,
    });
  }
}
