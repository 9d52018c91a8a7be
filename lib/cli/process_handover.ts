/**
 * Hands the port over to a new process with the same command line, and so to a new version of the program or the app.
 * @module
 */
import { delay } from "@std/async/delay";
import { isSystemdService, readHandoverVariable } from "../config/load_settings.ts";
import { messageOf, StartError, UsageError } from "../errors.ts";
import type { RunningService } from "../service/running_service.ts";

/** The data that a process passes to its successor in the environment. */
interface HandoverData {
  /** The loopback port on which the predecessor waits for the report. */
  readonly reportTo: number;
  /** Proves that the report comes from the successor. */
  readonly token: string;
  /** The port to take over; 0 for a unix socket. */
  readonly port: number;
  /** The port of the admin listener to take over; 0 for a unix socket, or without an admin listener. */
  readonly adminPort: number;
}

/** The parent when this process started. When a predecessor exits, process 1 becomes the parent of its successor. */
const PARENT_PID = Deno.ppid;
/** How long a successor may take until it listens, ms. */
const LISTEN_TIMEOUT = 30_000;
/** The most connections to the report port at once. */
const MAX_REPORT_CONNECTIONS = 64;
/** How often a successor tries to report, and the pause between two attempts, ms. */
const MAX_REPORT_ATTEMPTS = 20;
const REPORT_INTERVAL = 100;

/**
 * Starts a successor and waits until it listens on the same address. Called by `Service.handOver`.
 * @param signal aborted when this service stops; a successor that does not listen yet is then killed
 * @throws {StartError} if no successor listens; this process then continues to serve
 */
export async function handOver(service: RunningService, signal: AbortSignal): Promise<{ pid: number }> {
  const fail = (why: string, cause?: unknown) => new StartError(`Cannot hand over: ${why}`, { cause });
  if (signal.aborted) throw fail("the service is stopping");
  const obstacle = findHandoverObstacle();
  if (obstacle !== undefined) {
    throw fail(`${obstacle}; use --workers 1, which replaces the code and keeps this process`);
  }
  const [program, ...args] = readCommandLine();
  using reports = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const token = crypto.randomUUID();
  const portOf = (addr: Deno.Addr | undefined) => addr !== undefined && "port" in addr ? addr.port : 0;
  const ports = { port: portOf(service.addr), adminPort: portOf(service.admin?.addr) };
  const data: HandoverData = { reportTo: reports.addr.port, token, ...ports };
  let child: Deno.ChildProcess;
  try {
    child = new Deno.Command(program!, {
      args,
      env: { WSS_HANDOVER: JSON.stringify(data) },
      stdin: "inherit",
      stdout: "inherit",
      stderr: "inherit",
    }).spawn();
  } catch (error) {
    throw fail(`${program} cannot be started (${messageOf(error)}); the permission --allow-run is required`, error);
  }
  child.unref();
  const interrupted = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => interrupted.reject(fail(`the successor did not listen within ${LISTEN_TIMEOUT / 1000} s`)),
    LISTEN_TIMEOUT,
  );
  const stop = () => interrupted.reject(fail("the service is stopping"));
  signal.addEventListener("abort", stop);
  const exited = child.status.then(({ code }) => {
    throw fail(`the successor exited with code ${code}; its output has the reason`);
  });
  try {
    await Promise.race([waitForReport(reports, token), exited, interrupted.promise]);
  } catch (error) {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has already exited.
    }
    // Until its end it may still open a listener.
    await child.status;
    throw error;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    exited.catch(() => {});
  }
  return { pid: child.pid };
}

/** Reads the ports that a predecessor hands over. Returns undefined without a predecessor. */
export function readTakeover():
  | { readonly port: number; readonly adminPort: number; reportListening(): Promise<void> }
  | undefined {
  const text = readHandoverVariable();
  if (text === undefined) return undefined;
  const data = parseHandoverData(text);
  return {
    port: data.port,
    adminPort: data.adminPort,
    async reportListening() {
      const token = new TextEncoder().encode(data.token);
      for (let attempt = 1;; attempt++) {
        try {
          using connection = await Deno.connect({ hostname: "127.0.0.1", port: data.reportTo });
          await connection.write(token);
          // Wait for the answer: the connection is closed without one if another local user opens many connections.
          if (await connection.read(new Uint8Array(1)) === 1) return;
          if (attempt === MAX_REPORT_ATTEMPTS) throw new Error("it does not accept the report");
        } catch (error) {
          if (attempt === MAX_REPORT_ATTEMPTS || error instanceof Deno.errors.ConnectionRefused) throw error;
        }
        await delay(REPORT_INTERVAL);
      }
    },
  };
}

/** Returns why a successor would end together with this process, or undefined if it would not. */
function findHandoverObstacle(): string | undefined {
  if (Deno.pid === 1) return "this is process 1, and its exit ends every other process";
  if (isSystemdService(PARENT_PID)) return "systemd ends every process of the service when this one exits";
  if (PARENT_PID !== 1) return undefined;
  // The init process of a container (tini, docker-init, sh) exits together with its child.
  const init = readProcessName(1);
  return init === undefined || init === "systemd" || init === "init"
    ? undefined
    : `process 1 (${init}) exits together with this process, which ends every other process`;
}

function readProcessName(pid: number): string | undefined {
  try {
    return Deno.readTextFileSync(`/proc/${pid}/comm`).trim();
  } catch {
    // Not readable, or not Linux.
    return undefined;
  }
}

/**
 * Parses the data from a predecessor.
 * @throws {UsageError} if the text has another form
 */
function parseHandoverData(text: string): HandoverData {
  try {
    // A predecessor of an older version does not pass an admin port.
    const { reportTo, token, port, adminPort = 0 } = JSON.parse(text) as Partial<HandoverData>;
    if (typeof reportTo === "number" && typeof token === "string" && typeof port === "number") {
      return { reportTo, token, port, adminPort };
    }
  } catch (error) {
    if (!(error instanceof SyntaxError) && !(error instanceof TypeError)) throw error;
  }
  throw new UsageError("Cannot use WSS_HANDOVER: only a process that hands over (SIGUSR2) may set it; unset it");
}

/**
 * Resolves when a client has sent the token; answers it with one byte. Each connection is read independently, and the
 * oldest is closed when there are too many, so that other clients cannot block the report.
 */
export async function waitForReport(reports: Deno.Listener, token: string): Promise<void> {
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
      // The connection was reset, or closed because there were too many.
    } finally {
      if (open.delete(connection)) connection.close();
    }
  }
  async function accept(): Promise<void> {
    for await (const connection of reports) {
      open.add(connection);
      if (open.size > MAX_REPORT_CONNECTIONS) {
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

/** Reads the command line of this process. With `deno run` it includes the flags of Deno. */
export function readCommandLine(): string[] {
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
