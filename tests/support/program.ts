/**
 * Runs the real program as a subprocess in its own temporary working directory.
 *
 *     await using program = await startProgram(["--app", "echo"]);
 *     await using client = await Client.open(program.url, { ca: program.ca });
 * @module
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import project from "../../deno.json" with { type: "json" };
import { Transcript } from "./transcript.ts";

/** The folder of deno.json and main.ts. */
export const ROOT: string = fileURLToPath(new URL("../..", import.meta.url));

/**
 * The permissions that `deno run -P main.ts` reads from deno.json, as flags. Relative paths are relative to the working
 * directory.
 */
export const LEAST_PERMISSIONS: readonly string[] = [
  ...Object.entries(project.permissions.default)
    .map(([name, what]) => Array.isArray(what) ? `--allow-${name}=${what.join()}` : `--allow-${name}`),
  "--no-prompt",
];

/** The same permissions without the C library. */
export const WITHOUT_FFI: readonly string[] = LEAST_PERMISSIONS.filter((flag) => flag !== "--allow-ffi");

/** Options for running the program. */
export interface ProgramOptions {
  /** Variables to add to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Files to write into the working directory before the start, keyed by relative path. */
  readonly files?: Readonly<Record<string, string>>;
  /** The working directory. Default: a temporary folder, which is removed at the end. */
  readonly folder?: string;
  /** The permission flags for Deno. Default `-A`. */
  readonly permissions?: readonly string[];
  /** A compiled program to run instead of main.ts. */
  readonly binary?: string;
  /** A command prefix, such as `setpriv …` or `ip netns exec …`. */
  readonly wrapper?: readonly string[];
}

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A running program that listens. Disposing of it kills the program and removes its folder. */
export interface Program extends AsyncDisposable {
  /** The URL: `wss://localhost:PORT/`, or `ws+unix:PATH` for a unix socket. */
  readonly url: string;
  readonly port: number;
  /** The time from its start until it reported that it listens, in milliseconds. */
  readonly startup: number;
  readonly folder: string;
  /** The certificate of the development authority. */
  readonly ca: string;
  readonly pid: number;
  readonly stdout: Transcript;
  readonly stderr: Transcript;
  /** The http or https URL of the page or of a path. */
  http(path?: string): string;
  signal(signal: Deno.Signal): void;
  /** Resolves with the exit code when the program exits. Its child processes may still hold its output open. */
  readonly exited: Promise<number>;
  /** Resolves when the program and all other processes that write to its output have ended. */
  readonly ended: Promise<Ended>;
  /** Sends a signal, by default SIGTERM, and waits for the end. Kills a program that hangs after 30 s (code 137). */
  stop(signal?: Deno.Signal): Promise<Ended>;
}

/** Makes a temporary folder and writes files into it. Creates the subfolders that the file names contain. */
export async function makeFolder(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "wss-test-" });
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(path, content);
  }
  return folder;
}

/** Runs the program with a command line that does not serve, and waits until it ends. */
export async function runProgram(args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const folder = options.folder ?? await makeFolder(options.files);
  try {
    const child = command(args, folder, options).spawn();
    // Without a time limit, a program that serves by mistake would block the test forever.
    const { code, stdout, stderr } = await within(PATIENCE, child.output(), () => child.kill("SIGKILL"));
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } finally {
    if (options.folder === undefined) await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Starts the program on a free port and waits until it listens. Accepts both log formats.
 * @throws {Error} with the program's output if it ends before it listens
 */
export async function startProgram(args: readonly string[] = [], options: ProgramOptions = {}): Promise<Program> {
  const folder = options.folder ?? await makeFolder(options.files);
  const unix = args.includes("--unix");
  const started = performance.now();
  const child = command(unix || args.includes("--port") ? args : [...args, "--port", "0"], folder, options).spawn();
  const stdout = new Transcript("standard output", child.stdout);
  const stderr = new Transcript("standard error", child.stderr);
  let running = true;
  const ended = (async () => {
    const [{ code }] = await Promise.all([child.status, stdout.done, stderr.done]);
    running = false;
    return { code, stdout: stdout.text, stderr: stderr.text };
  })();

  async function dispose(): Promise<void> {
    if (running) signal("SIGKILL");
    await ended;
    if (options.folder === undefined) await Deno.remove(folder, { recursive: true });
  }

  function signal(name: Deno.Signal): void {
    try {
      child.kill(name);
    } catch (error) {
      // The program ended in the meantime.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  let url: string;
  try {
    // Only one of the two texts appears. The other wait rejects at the end of the stream, and that is ignored.
    const listening = Promise.any([
      stderr.until(/"message":"listening","url":"([^"]+)"/),
      stdout.until(/^ {2}address +(\S+)\n[^]*^stop /m),
    ]);
    url = (await within(PATIENCE, listening, () => signal("SIGKILL")))[1]!;
  } catch {
    const { code } = await ended;
    await dispose();
    throw new Error(`the program ended with ${code} before it listened:\n${stderr.text}${stdout.text}`);
  }
  const startup = performance.now() - started;
  const port = unix ? 0 : Number(new URL(url).port);
  const proxied = url.startsWith("ws:");

  return {
    url,
    port,
    startup,
    folder,
    ca: join(folder, "certs/ca.pem"),
    pid: child.pid,
    stdout,
    stderr,
    exited: child.status.then(({ code }) => code),
    ended,
    signal,
    http: (path = "/") => `${proxied ? "http://127.0.0.1" : "https://localhost"}:${port}${path}`,
    stop(name = "SIGTERM") {
      signal(name);
      return within(PATIENCE, ended, () => signal("SIGKILL"));
    },
    [Symbol.asyncDispose]: dispose,
  };
}

/** The time limit for a start or a stop, in milliseconds. It is far longer than the program takes on a busy machine. */
const PATIENCE = 120_000;

/** Waits for a promise. After the given time calls a function, which must end the wait. */
async function within<T>(milliseconds: number, promise: Promise<T>, late: () => void): Promise<T> {
  const timer = setTimeout(late, milliseconds);
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

function command(args: readonly string[], folder: string, options: ProgramOptions): Deno.Command {
  const { permissions = ["-A"], binary, wrapper = [], env = {} } = options;
  const deno = [Deno.execPath(), "run", ...permissions, "--config", join(ROOT, "deno.json"), join(ROOT, "main.ts")];
  const [first, ...rest] = [...wrapper, ...(binary === undefined ? deno : [binary]), ...args];
  return new Deno.Command(first!, {
    args: rest,
    cwd: folder,
    env: { NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}
