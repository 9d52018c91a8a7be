/**
 * Starts tests/net/server.ts and sends commands to it.
 * @module
 */
import type { ServerOptions } from "./server.ts";

const FILE = new URL("./server.ts", import.meta.url).pathname;

/** A logged event. */
export interface Logged {
  readonly level: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

/** The answer to `stat`. */
export interface Stat {
  readonly opened: number;
  readonly closed: number;
  readonly requests: number;
  readonly sockets: number;
  readonly fds: number;
  readonly rss: number;
  readonly reasons: readonly string[];
  readonly watchdog?: {
    readonly ended: Readonly<Record<string, number>>;
    readonly scans: number;
    readonly fullScans: number;
    readonly scanMicroseconds: number;
    readonly abandonedUpgrades: number;
  };
}

/** A running server. */
export class ServerProcess {
  readonly #child: Deno.ChildProcess;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #waiting = new Map<string, { resolve(value: unknown): void; reject(error: Error): void }>();
  readonly #reading: Promise<void>;
  readonly #watchers = new Set<() => void>();
  readonly log: Logged[] = [];
  started!: {
    addr: { transport: string; hostname: string; port: number; path: string };
    limit: number;
    canStop: boolean;
    guarded: boolean;
  };
  failed: string | undefined;
  #next = 0;

  private constructor(options: ServerOptions, { permissions = ["-A"], limit }: StartOptions) {
    const args = ["run", ...permissions, FILE, JSON.stringify(options)];
    const [command, list] = limit === undefined
      ? [Deno.execPath(), args]
      : ["/bin/sh", ["-c", `ulimit -n ${limit}; exec "$0" "$@"`, Deno.execPath(), ...args]];
    this.#child = new Deno.Command(command, { args: list, stdin: "piped", stdout: "piped", stderr: "inherit" }).spawn();
    this.#writer = this.#child.stdin.getWriter();
    this.#reading = this.#read();
  }

  static async start(options: ServerOptions, start: StartOptions = {}): Promise<ServerProcess> {
    const server = new ServerProcess(options, start);
    await server.until(() => server.started !== undefined || server.failed !== undefined);
    return server;
  }

  get pid(): number {
    return this.#child.pid;
  }

  get port(): number {
    return this.started.addr.port;
  }

  /** Waits until output of the server makes `condition` true. */
  async until(condition: () => boolean, timeout = 20_000): Promise<void> {
    const end = performance.now() + timeout;
    while (!condition()) {
      const left = end - performance.now();
      if (left <= 0) throw new Error(`nothing came for ${timeout} ms; log: ${JSON.stringify(this.log.slice(-5))}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, left);
        const watchers = this.#watchers;
        function done() {
          clearTimeout(timer);
          watchers.delete(done);
          resolve();
        }
        watchers.add(done);
      });
    }
  }

  async ask<T = unknown>(command: string, argument: unknown = ""): Promise<T> {
    const id = String(this.#next++);
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    const text = typeof argument === "string" ? argument : JSON.stringify(argument);
    await this.#writer.write(new TextEncoder().encode(`${id} ${command} ${text}\n`));
    return await answer as T;
  }

  stat(): Promise<Stat> {
    return this.ask<Stat>("stat");
  }

  /**
   * Sends `stat` until the answer satisfies `condition`, or no count of connections changes for the given time. Returns
   * the last answer in both cases. On a busy machine the server may take longer than its clients.
   */
  async settle(condition: (stat: Stat) => boolean, timeout = 20_000): Promise<Stat> {
    let end = 0;
    for (let counts = "";;) {
      const stat = await this.stat();
      const { opened, closed, requests, fds } = stat;
      const current = `${opened} ${closed} ${requests} ${fds}`;
      if (current !== counts) [counts, end] = [current, performance.now() + timeout];
      if (condition(stat) || performance.now() > end) return stat;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }

  /** The CPU time of the whole process so far, in milliseconds, from /proc. */
  cpu(): number {
    const fields = Deno.readTextFileSync(`/proc/${this.pid}/stat`).split(") ")[1]!.split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // The process has already ended.
    }
    await this.#writer.close().catch(() => {});
    await this.#child.status;
    await this.#reading;
  }

  async #read(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#take(JSON.parse(line));
      for (const wake of [...this.#watchers]) wake();
    }
    for (const { reject } of this.#waiting.values()) reject(new Error("the server has ended"));
  }

  #take(said: Record<string, unknown>): void {
    if (said.log) this.log.push(said.log as Logged);
    else if (said.addr) this.started = said as unknown as ServerProcess["started"];
    else if (said.failed) this.failed = String(said.failed);
    else {
      const waiting = this.#waiting.get(String(said.id));
      this.#waiting.delete(String(said.id));
      if (said.error !== undefined) waiting?.reject(new Error(String(said.error)));
      else waiting?.resolve(said.result);
    }
  }
}

/** Watchdog limits that are short enough for a test. */
export const WATCHDOG = {
  handshakeTimeout: 10_000,
  keepAliveTimeout: 4_000,
  closeTimeout: 1_500,
  maxPayload: 1024 ** 2,
} as const;

/** Runs a Python script of this folder and returns its output. */
export async function python(script: string, ...args: readonly (string | number)[]): Promise<string> {
  const path = new URL(script, import.meta.url).pathname;
  const { success, stdout } = await new Deno.Command("/usr/bin/python3", {
    args: [path, ...args.map(String)],
    stderr: "inherit",
  }).output();
  if (!success) throw new Error(`${script} failed`);
  return new TextDecoder().decode(stdout);
}

/** Options for starting the server. */
export interface StartOptions {
  readonly permissions?: readonly string[];
  /** The limit on open descriptors (`ulimit -n`). */
  readonly limit?: number;
}
