/**
 * The real program as a subprocess, in a temporary working directory of its own.
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

/** The permissions that `deno run -P main.ts` takes from deno.json, as flags; relative paths begin at the working directory. */
export const LEAST_PERMISSIONS: readonly string[] = [
  ...Object.entries(project.permissions.default)
    .map(([name, what]) => Array.isArray(what) ? `--allow-${name}=${what.join()}` : `--allow-${name}`),
  "--no-prompt",
];

/** The same without the C library. */
export const WITHOUT_FFI: readonly string[] = LEAST_PERMISSIONS.filter((flag) => flag !== "--allow-ffi");

/** How the program is run. */
export interface ProgramOptions {
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Files put into the working directory first, by relative path. */
  readonly files?: Readonly<Record<string, string>>;
  /** The working directory. Default: a temporary one, which is removed in the end. */
  readonly folder?: string;
  /** What Deno may do. Default `-A`. */
  readonly permissions?: readonly string[];
  /** A compiled program to run in place of main.ts. */
  readonly binary?: string;
  /** A command line that ours is appended to: `setpriv …`, `ip netns exec …`. */
  readonly wrapper?: readonly string[];
}

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A program that listens. Disposing of it kills it and removes its folder. */
export interface Program extends AsyncDisposable {
  /** `wss://localhost:PORT/`; with a unix socket `ws+unix:PATH`. */
  readonly url: string;
  readonly port: number;
  /** Milliseconds from its start until it said that it listens. */
  readonly startup: number;
  readonly folder: string;
  /** The development authority's certificate. */
  readonly ca: string;
  readonly pid: number;
  readonly stdout: Transcript;
  readonly stderr: Transcript;
  /** The page's or a path's address over http or https. */
  http(path?: string): string;
  signal(signal: Deno.Signal): void;
  /** The exit code, once it has exited; what it started may still hold its output open. */
  readonly exited: Promise<number>;
  /** Resolves when it has ended, and so has everything that writes to its output. */
  readonly ended: Promise<Ended>;
  /** Signals, and waits for the end; a program that hangs is killed after 30 s (code 137). Default SIGTERM. */
  stop(signal?: Deno.Signal): Promise<Ended>;
}

/** Makes a temporary folder with files in it, in folders of their own where their names say so. */
export async function makeFolder(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const folder = await Deno.makeTempDir({ prefix: "wss-test-" });
  for (const [name, content] of Object.entries(files)) {
    const path = join(folder, name);
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.writeTextFile(path, content);
  }
  return folder;
}

/** Runs a command line of the program to its end; for those that do not serve. */
export async function runProgram(args: readonly string[], options: ProgramOptions = {}): Promise<Ended> {
  const folder = options.folder ?? await makeFolder(options.files);
  try {
    const child = command(args, folder, options).spawn();
    // One that serves where it should have ended would be waited for for ever.
    const { code, stdout, stderr } = await within(PATIENCE, child.output(), () => child.kill("SIGKILL"));
    return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
  } finally {
    if (options.folder === undefined) await Deno.remove(folder, { recursive: true });
  }
}

/**
 * Starts the program on a free port and waits until it listens. Both log formats will do.
 * @throws {Error} with what it printed when it ends before
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
      // It ended in between.
      if (!(error instanceof TypeError)) throw error;
    }
  }

  let url: string;
  try {
    // One of the two never comes; its rejection at the end of the stream says nothing.
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

/** How long a program may take to start or stop, ms: far more than it does on the busiest machine. */
const PATIENCE = 30_000;

/** Waits; what is to happen after so many milliseconds must end the wait. */
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
