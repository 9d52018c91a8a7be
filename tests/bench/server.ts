/**
 * The servers that are compared. Each is a separate process on the first core.
 * @module
 */
import { TextLineStream } from "@std/streams/text-line-stream";
import { join } from "node:path";
import { createAuthority, issueCertificate } from "../../lib/tls/issue_certificate.ts";
import { Scraper } from "./scraper.ts";
import { copyWithoutCounting } from "./without_counting.ts";

/** The servers. `wss` is this service; it is compared with the others. */
export const SERVERS = ["wss", "deno", "deno+nodelay", "ws", "bun"] as const;
/** Variants of this service: its metrics are scraped, or it counts no messages. */
export const VARIANTS = ["wss+scrape", "wss-counting"] as const;
export type ServerName = typeof SERVERS[number] | typeof VARIANTS[number];

/** The certificate of all servers. */
export interface Certificate extends AsyncDisposable {
  readonly folder: string;
  readonly cert: string;
  readonly key: string;
  /** The issuing CA's certificate, as PEM. */
  readonly ca: string;
}

/** A server that listens. Disposing of it stops the process. */
export interface RunningServer extends AsyncDisposable {
  readonly name: ServerName;
  readonly pid: number;
  readonly port: number;
  /** The admin listener: `http://HOST:PORT`. */
  readonly admin: string | undefined;
  /** Number of scrapes that were answered. */
  scrapes(): number;
  /** The last lines of the server's output. */
  said(): string;
  /** Stops the server with SIGTERM and returns its exit status. */
  stop(): Promise<Deno.CommandStatus>;
}

/** Makes a certificate for localhost and 127.0.0.1 in a temporary folder. */
export async function makeCertificate(): Promise<Certificate> {
  const folder = await Deno.makeTempDir({ prefix: "wss-bench-" });
  const authority = await createAuthority(new Date());
  const leaf = await issueCertificate(authority, ["localhost", "127.0.0.1"], new Date());
  const cert = join(folder, "cert.pem");
  const key = join(folder, "key.pem");
  await Deno.writeTextFile(cert, leaf.cert);
  await Deno.writeTextFile(key, leaf.key);
  return {
    folder,
    cert,
    key,
    ca: authority.cert,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** Whether a program can be started. */
export async function installed(program: string, ...args: string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(program, { args, stdin: "null", stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch {
    return false;
  }
}

/** Why a server cannot be measured on this machine. Undefined if it can. */
export async function absence(name: ServerName): Promise<string | undefined> {
  const program = name === "ws" ? "node" : name;
  if (program !== "node" && program !== "bun") return undefined;
  return await installed(program, "--version") ? undefined : `${name} is skipped: ${program} is not installed`;
}

/** Whether there are two cores, and taskset to run server and load generator on different ones. */
export async function canPin(): Promise<boolean> {
  return navigator.hardwareConcurrency >= 2 && await installed("taskset", "--version");
}

/** Returns the command that runs on the given core if `pin` is true. */
export function onCore(core: number, pin: boolean, command: readonly string[]): string[] {
  return pin ? ["taskset", "-c", String(core), ...command] : [...command];
}

function path(file: string): string {
  return new URL(file, import.meta.url).pathname;
}

async function commandOf(
  name: ServerName,
  { cert, key, folder }: Certificate,
  { options = [], app = "servers/app.ts", tight }: StartOptions,
): Promise<string[]> {
  const v8 = ["--expose-gc", ...(tight ? ["--max-semi-space-size=1"] : [])];
  const deno = [Deno.execPath(), "run", "-A", `--v8-flags=${v8.join(",")}`];
  const wss = (main: string, ...more: string[]) => [
    ...[...deno, main, "serve", "--cert", cert, "--key", key, "--host", "127.0.0.1"],
    ...["--port", "0", "--app", path(app), "--log-format", "json", ...more, ...options],
  ];
  switch (name) {
    case "wss":
      return wss(path("../../main.ts"));
    case "wss+scrape":
      return wss(path("../../main.ts"), "--admin", "127.0.0.1:0");
    case "wss-counting":
      return wss(await copyWithoutCounting(folder));
    case "deno":
      return [...deno, path("servers/raw.ts"), cert, key];
    case "deno+nodelay":
      return [...deno, path("servers/raw.ts"), cert, key, "nodelay"];
    case "ws":
      return ["node", "--expose-gc", path("servers/ws.js"), cert, key, import.meta.resolve("ws")];
    case "bun":
      return ["bun", path("servers/bun.ts"), cert, key];
  }
}

/** How to start a server. */
export interface StartOptions {
  /** Whether the server runs on the first core only. */
  readonly pin?: boolean;
  /**
   * Limits V8's young generation to 3 MiB in the servers that run on Deno, to compare the memory of connections. V8
   * sizes the young generation by recent allocations, up to 48 MiB, however little of it is live (measured after 8,000
   * handshakes: 24 MiB for raw Deno.serve, 46 for this service).
   */
  readonly tight?: boolean;
  /** The app of this service. Default: the app that does the same as the other servers. */
  readonly app?: string;
  /** Further options of this service. */
  readonly options?: readonly string[];
}

/**
 * Starts a server and waits until it listens.
 * @throws {Error} if the server ends before it listens; the message holds the server's output.
 */
export async function startServer(
  name: ServerName,
  certificate: Certificate,
  how: StartOptions = {},
): Promise<RunningServer> {
  const [program, ...args] = onCore(0, how.pin ?? false, await commandOf(name, certificate, how));
  const child = new Deno.Command(program!, {
    args,
    // A folder without a wss.json, which the service would read.
    cwd: certificate.folder,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const said: string[] = [];
  const listening = Promise.withResolvers<Listening>();
  const reading = [child.stdout, child.stderr].map((stream) => read(stream, said, listening.resolve));
  Promise.all(reading).then(() => listening.reject(new Error(`Cannot start ${name}: ${said.join("\n")}`)));
  const timer = setTimeout(() => {
    listening.reject(new Error(`Cannot start ${name}: the server printed no port within ${PATIENCE / 1000} s`));
    child.kill("SIGKILL");
  }, PATIENCE);
  const { port, admin } = await listening.promise.finally(() => clearTimeout(timer));
  const scraper = name === "wss+scrape" && admin !== undefined ? await Scraper.start(admin) : undefined;

  let stopped: Promise<Deno.CommandStatus> | undefined;
  const stop = () =>
    stopped ??= (async () => {
      try {
        await scraper?.stop();
      } finally {
        child.kill("SIGTERM");
      }
      const timer = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
      const status = await child.status;
      clearTimeout(timer);
      await Promise.all(reading);
      return status;
    })();
  return {
    name,
    pid: child.pid,
    port,
    admin,
    scrapes: () => scraper?.answered ?? 0,
    said: () => said.join("\n"),
    stop,
    [Symbol.asyncDispose]: async () => void await stop(),
  };
}

/** How long a server may take to start or to stop, ms. */
const PATIENCE = 20_000;
/** Lines kept for an error message. */
const LINES = 20;

/** What a server prints when it listens. */
interface Listening {
  readonly port: number;
  /** Only of this service with an admin listener. */
  readonly admin: string | undefined;
}

/** Reads a server's output. Each server prints its port in a line of JSON: as `port`, this service in its `url`. */
async function read(
  stream: ReadableStream<Uint8Array>,
  said: string[],
  found: (listening: Listening) => void,
): Promise<void> {
  const lines: ReadableStream<string> = stream.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
  for await (const line of lines) {
    said.push(line);
    if (said.length > LINES) said.shift();
    const match = /"port":(\d+)|"url":"wss:\/\/[^"]*:(\d+)\//.exec(line);
    if (match) found({ port: Number(match[1] ?? match[2]), admin: /"admin":"([^"]+)"/.exec(line)?.[1] });
  }
}
