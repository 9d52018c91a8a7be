/**
 * Hands the port over to a new process with the same command line, and so to a new version of the program or the app.
 * @module
 */
import { delay } from "@std/async/delay";
import { isSystemdService, readHandover } from "../config/load_settings.ts";
import { messageOf, StartError, UsageError } from "../errors.ts";
import type { RunningService } from "../service/running_service.ts";

/**
 * The information for the successor, passed in the environment: where its predecessor waits, and the port to take over.
 */
interface Note {
  /** Where to report, on loopback. */
  readonly reportTo: number;
  /** Shows that the report comes from the successor. */
  readonly token: string;
  /** The port to take over; 0 for a unix socket. */
  readonly port: number;
  /** The same of the admin listener; 0 also where there is none. */
  readonly adminPort: number;
}

/** The parent at the start of this process: that of a successor becomes process 1 when its predecessor ends. */
const PARENT = Deno.ppid;
/** How long a successor may take until it listens, ms. */
const PATIENCE = 30_000;
/** Connections to the report port that are read at once. */
const MOST_REPORTERS = 64;
/** How often a successor reports until it is heard, and the pause between, ms. */
const MOST_REPORTS = 20;
const REPORT_AGAIN = 100;

/**
 * Starts a successor and waits until it listens on the same address; for `Service.handOver`.
 * @param signal aborts when this service is to stop; a successor that does not listen yet is then ended
 * @throws {StartError} if no successor listens; this process then continues to serve
 */
export async function handOver(service: RunningService, signal: AbortSignal): Promise<{ pid: number }> {
  const fail = (why: string, cause?: unknown) => new StartError(`Cannot hand over: ${why}`, { cause });
  if (signal.aborted) throw fail("the service is stopping");
  const obstacle = whySuccessorWouldEnd();
  if (obstacle !== undefined) throw fail(`${obstacle}; --workers 1 replaces the code and keeps the process`);
  const [program, ...args] = commandLine();
  using reports = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const token = crypto.randomUUID();
  const portOf = (addr: Deno.Addr | undefined) => addr !== undefined && "port" in addr ? addr.port : 0;
  const ports = { port: portOf(service.addr), adminPort: portOf(service.admin?.addr) };
  const note: Note = { reportTo: reports.addr.port, token, ...ports };
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

/** The ports that a predecessor hands over, or undefined without a predecessor. */
export function takeover():
  | { readonly port: number; readonly adminPort: number; reportListening(): Promise<void> }
  | undefined {
  const text = readHandover();
  if (text === undefined) return undefined;
  const note = readNote(text);
  return {
    port: note.port,
    adminPort: note.adminPort,
    async reportListening() {
      const token = new TextEncoder().encode(note.token);
      for (let attempt = 1;; attempt++) {
        try {
          using connection = await Deno.connect({ hostname: "127.0.0.1", port: note.reportTo });
          await connection.write(token);
          // The answer: a connection may be closed unread where a local user opens many.
          if (await connection.read(new Uint8Array(1)) === 1) return;
          if (attempt === MOST_REPORTS) throw new Error("it does not take the report");
        } catch (error) {
          if (attempt === MOST_REPORTS || error instanceof Deno.errors.ConnectionRefused) throw error;
        }
        await delay(REPORT_AGAIN);
      }
    },
  };
}

/** Why a successor would end together with this process, or undefined. */
function whySuccessorWouldEnd(): string | undefined {
  if (Deno.pid === 1) return "this is process 1, and the system ends every other process with it";
  if (isSystemdService(PARENT)) return "systemd ends every process of the service when this one has ended";
  if (PARENT !== 1) return undefined;
  // Under an init of a container (tini, docker-init, sh), which ends with its child.
  const init = nameOf(1);
  return init === undefined || init === "systemd" || init === "init"
    ? undefined
    : `process 1 (${init}) ends when this one has ended, and the system every other process with it`;
}

function nameOf(pid: number): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
  } catch {
    // Not to be read, or not Linux.
    return undefined;
  }
}

/** Parses the information from a predecessor. @throws {UsageError} if a predecessor did not write it */
function readNote(text: string): Note {
  try {
    // A predecessor of an older version names no admin port.
    const { reportTo, token, port, adminPort = 0 } = JSON.parse(text) as Partial<Note>;
    if (typeof reportTo === "number" && typeof token === "string" && typeof port === "number") {
      return { reportTo, token, port, adminPort };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  throw new UsageError("WSS_HANDOVER is what one process of the service tells the next (SIGUSR2): unset it");
}

/**
 * Resolves when a client has connected and sent the token; answers it with one byte. Other clients may keep connections
 * open: each is read independently, and the oldest is closed when there are too many.
 */
export async function reported(reports: Deno.Listener, token: string): Promise<void> {
  // Loaded here, because it takes 28 ms of every start (measured), and few processes are ever replaced.
  const { timingSafeEqual } = await import("node:crypto");
  const expected = new TextEncoder().encode(token);
  const open = new Set<Deno.Conn>();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  async function read(connection: Deno.Conn): Promise<void> {
    const given = new Uint8Array(expected.length);
    try {
      for (let length = 0; length < given.length;) {
        const read = await connection.read(given.subarray(length));
        if (read === null) return;
        length += read;
      }
      if (!timingSafeEqual(given, expected)) return;
      await connection.write(new Uint8Array(1));
      resolve();
    } catch {
      // It was reset, or closed because there were too many.
    } finally {
      if (open.delete(connection)) connection.close();
    }
  }
  async function accept(): Promise<void> {
    for await (const connection of reports) {
      open.add(connection);
      if (open.size > MOST_REPORTERS) {
        const [oldest] = open;
        open.delete(oldest!);
        oldest!.close();
      }
      read(connection);
    }
  }
  accept().catch(reject);
  try {
    await promise;
  } finally {
    for (const connection of open) connection.close();
    open.clear();
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
