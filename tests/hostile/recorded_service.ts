/**
 * Runs the real program with an app that records its hooks, and gives access to the records of each peer.
 *
 *     await using service = await RecordedService.start();
 *     await using peer = await RawPeer.open(service, { name: "mallory" });
 *     peer.send(…);
 *     assertEquals((await service.call("mallory", "close")).code, 1009);
 * @module
 */
import { fileURLToPath } from "node:url";
import { Client } from "../support/client.ts";
import { type Ended, type Program, type ProgramOptions, startProgram } from "../support/program.ts";

/** The record of a hook that ran. */
export interface HookCall {
  readonly name: string;
  readonly hook: string;
  readonly code?: number;
  readonly reason?: string;
  readonly messages?: number;
  readonly bytes?: number;
  readonly fine?: boolean;
  readonly buffered?: number;
  readonly message?: string;
  readonly id?: string;
}

/** A log line. */
export interface Logged {
  readonly level: string;
  readonly message: string;
  readonly peer?: string;
  readonly [field: string]: unknown;
}

const APP = fileURLToPath(new URL("./recording_app.ts", import.meta.url));

/** The running service. */
export class RecordedService implements AsyncDisposable {
  readonly program: Program;
  /** The PEM of the authority's certificate, or undefined for plain ws. */
  readonly ca: string | undefined;

  private constructor(program: Program, ca: string | undefined) {
    this.program = program;
    this.ca = ca;
  }

  /** Starts the service with a JSON log at debug. */
  static async start(args: readonly string[] = [], options: ProgramOptions = {}): Promise<RecordedService> {
    const logging = args.includes("--log-level") ? [] : ["--log-level", "debug"];
    const program = await startProgram(["--app", APP, ...logging, ...args], options);
    try {
      // The watchdog's thread starts after the service listens, and opens its own descriptors.
      if (logging.length > 0) await program.stderr.until(/the watchdog runs/);
      const plain = args.includes("proxied");
      return new RecordedService(program, plain ? undefined : await Deno.readTextFile(program.ca));
    } catch (error) {
      await program[Symbol.asyncDispose]();
      throw error;
    }
  }

  get port(): number {
    return this.program.port;
  }

  /** Connects Deno's own WebSocket client. */
  client(name: string): Promise<Client> {
    const { program } = this;
    return Client.open(`${program.url}?name=${name}`, this.ca === undefined ? {} : { ca: program.ca });
  }

  /** Waits for the first record of a hook for a peer. */
  async call(name: string, hook: string): Promise<HookCall> {
    const [line] = await this.program.stdout.until(new RegExp(`^\\{"name":"${name}","hook":"${hook}"[^\n]*\\}$`, "m"));
    return JSON.parse(line) as HookCall;
  }

  /** All records of a hook so far. */
  calls(hook: string, name?: string): HookCall[] {
    return this.program.stdout.lines.filter((line) => line.startsWith('{"name":')).map((line) => JSON.parse(line))
      .filter((told: HookCall) => told.hook === hook && (name === undefined || told.name === name));
  }

  /** All log lines so far. */
  get log(): Logged[] {
    return this.program.stderr.lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }

  /** The number of peers that /healthz reports. */
  async peers(): Promise<number> {
    using client = Deno.createHttpClient({ caCerts: this.ca === undefined ? [] : [this.ca] });
    const response = await fetch(this.program.http("/healthz"), { client });
    return (await response.json() as { peers: number }).peers;
  }

  /** Resolves when /healthz reports the given number of connected peers. */
  async until(peers: number, patience = 20_000): Promise<void> {
    await eventually(async () => await this.peers() === peers, `${peers} peers`, patience);
  }

  stop(): Promise<Ended> {
    return this.program.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.program[Symbol.asyncDispose]();
  }
}

/** Checks a condition every 50 ms until it is true. @throws {Error} after `patience` ms */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patience = 20_000,
): Promise<void> {
  const end = performance.now() + patience;
  while (!await condition()) {
    if (performance.now() > end) throw new Error(`after ${patience} ms there was still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
