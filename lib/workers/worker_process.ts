/**
 * The supervisor's handle of one worker process.
 * @module
 */
import { messageOf, StartError } from "../errors.ts";
import { waitAtMost } from "../net/listener/replace_accept_loop.ts";
import type { ConnectionTotals, ListenOrder } from "../service/worker_context.ts";
import {
  ControlChannel,
  PROTOCOL,
  type ServiceDescription,
  type SupervisorMessage,
  type SupervisorRequests,
  type WorkerMessage,
  type WorkerRequests,
} from "./control_channel.ts";

/** The parameters that a worker gets in its environment. */
export interface WorkerParameters {
  /** The worker's number, from 1. */
  readonly index: number;
  readonly count: number;
  /** The path of the control channel's unix socket. */
  readonly control: string;
  /** The path of the relay's unix socket; undefined if a broker connects the workers. */
  readonly relay?: string;
  /** Proves that a connection comes from this worker. */
  readonly token: string;
}

/** Milliseconds from the end of a dying process's connection to the report of its exit, at most. */
const EXIT_REPORT = 2_000;

/** The supervisor's end of a control channel. */
export type WorkerChannel = ControlChannel<WorkerRequests, SupervisorRequests, WorkerMessage, SupervisorMessage>;

/** How to start a worker. */
export interface WorkerStart {
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly parameters: WorkerParameters;
}

/** Receives the events of a worker. */
export interface WorkerEvents {
  /** The worker is ready to listen and waits for its turn. */
  prepared(worker: WorkerProcess): void;
  socket(worker: WorkerProcess, change: "lost" | "joined"): void;
  counts(worker: WorkerProcess, counts: ConnectionTotals): void;
  /** The worker got SIGTERM and asks to be stopped. */
  terminated(worker: WorkerProcess): void;
  /** The worker requests a reload of all workers, with or without the tokens. */
  reload(tokens: boolean): Promise<void>;
}

/** One worker process. */
export class WorkerProcess {
  readonly index: number;
  readonly token: string;
  readonly pid: number;
  /** The worker's description of its service. Rejects with {@link WorkerFailure} if the worker exits before it listens. */
  readonly listening: Promise<ServiceDescription>;
  /** Resolves when the process has exited. Never rejects. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** When the last message arrived, ms of `performance.now()`. */
  heardAt = performance.now();
  /** Whether the worker was asked to stop, so that its exit is expected. */
  stopping = false;
  isListening = false;
  hasExited = false;
  /** Whether the other workers were reloaded while this one was starting. */
  #missedReload = false;
  readonly #child: Deno.ChildProcess;
  readonly #events: WorkerEvents;
  readonly #listening = Promise.withResolvers<ServiceDescription>();
  #channel: WorkerChannel | undefined;
  /** Whether the worker may have connections. */
  #toldToListen = false;

  /** @throws {StartError} if the program cannot be started */
  constructor({ command, parameters }: WorkerStart, events: WorkerEvents) {
    this.index = parameters.index;
    this.token = parameters.token;
    this.#events = events;
    const [program, ...args] = command;
    try {
      this.#child = new Deno.Command(program!, {
        args,
        env: { WSS_WORKER: JSON.stringify(parameters) },
        stdin: "null",
        stdout: "inherit",
        stderr: "inherit",
      }).spawn();
    } catch (error) {
      throw new StartError(
        `Cannot start a worker: the permission --allow-run is required, and ${program} failed (${messageOf(error)})`,
        { cause: error },
      );
    }
    this.pid = this.#child.pid;
    this.listening = this.#listening.promise;
    this.listening.catch(() => {});
    this.exited = this.#child.status.then((status) => {
      this.hasExited = true;
      this.#channel?.close();
      this.#listening.reject(new WorkerFailure(status));
      return status;
    });
  }

  /** Opens the control channel on the worker's connection. */
  connect(connection: Deno.Conn): void {
    this.#channel = new ControlChannel<WorkerRequests, SupervisorRequests, WorkerMessage, SupervisorMessage>(
      connection,
      (message) => this.#handleMessage(message),
      { reload: ({ tokens }) => this.#events.reload(tokens) },
    );
  }

  /** Sends a notification. Does nothing if the worker is not connected. */
  send(message: SupervisorMessage): void {
    this.#channel?.send(message);
  }

  /**
   * Sends a request and waits for the reply.
   * @throws {Error} if the worker threw an error, or is not connected
   */
  async request<Name extends keyof WorkerRequests>(
    name: Name,
    argument: WorkerRequests[Name]["argument"],
  ): Promise<WorkerRequests[Name]["reply"]> {
    if (this.#channel === undefined) throw new Error("the worker is not connected");
    try {
      return await this.#channel.request(name, argument);
    } catch (error) {
      // The connection of a process that dies may end before its exit is known, on which the caller depends.
      if (this.#channel.hasEnded) await waitAtMost(this.exited, EXIT_REPORT);
      throw error;
    }
  }

  /** Lets the worker listen. */
  listen(order: Omit<ListenOrder, "reload">): void {
    this.#toldToListen = true;
    this.send({ type: "listen", ...order, reload: this.#missedReload });
  }

  /**
   * Must be called when a reload of the workers begins. A worker that is starting reloads before it listens. One that
   * drains its connections takes no part either, but must revoke tokens. It is not awaited, because it may not answer.
   */
  reloadBegins(tokens: boolean): void {
    if (!this.isListening) this.#missedReload = true;
    else if (this.stopping && tokens) this.request("load", { tokens }).catch(() => {});
  }

  /** Asks the worker to drain its connections and stop. A worker that has none yet is killed, because its start may take long. */
  stop(followed: boolean): void {
    this.stopping = true;
    if (this.#toldToListen) this.send({ type: "stop", followed });
    else this.kill();
  }

  /** Kills the worker at once. */
  kill(): void {
    this.stopping = true;
    this.signal("SIGKILL");
  }

  /** Sends a signal. Does nothing if the worker has exited. */
  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // The process has already exited.
    }
  }

  #handleMessage(message: WorkerMessage): void {
    this.heardAt = performance.now();
    switch (message.type) {
      case "prepared":
        return this.#events.prepared(this);
      case "listening":
        this.isListening = true;
        return this.#listening.resolve(message.service);
      case "terminated":
        return this.#events.terminated(this);
      case "socket":
        return this.#events.socket(this, message.change);
      case "counts":
        return this.#events.counts(this, message.counts);
    }
  }
}

/** The error of a worker that exited before it listened. */
export class WorkerFailure extends Error {
  override readonly name = "WorkerFailure";
  readonly status: Deno.CommandStatus;

  constructor(status: Deno.CommandStatus) {
    super(`the worker exited before it listened (${describeStatus(status)})`);
    this.status = status;
  }
}

/** Describes how a process ended, for example `exit code 1` or `signal SIGKILL`. */
export function describeStatus({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}

/** Accepts the connections of workers, and assigns each to the worker whose token it sends. */
export class ControlListener implements Disposable {
  readonly #listener: Deno.UnixListener;
  readonly #find: (token: string) => WorkerProcess | undefined;

  constructor(path: string, find: (token: string) => WorkerProcess | undefined) {
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#find = find;
    void this.#accept();
  }

  [Symbol.dispose](): void {
    this.#listener.close();
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) void this.#readGreeting(connection);
    } catch {
      // The listener was closed.
    }
  }

  /** Reads the first line: the token and the protocol version. */
  async #readGreeting(connection: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(GREETING_BYTES);
    for (let length = 0; length < buffer.length;) {
      const count = await connection.read(buffer.subarray(length)).catch(() => null);
      if (count === null) return connection.close();
      length += count;
    }
    const [token = "", protocol] = new TextDecoder().decode(buffer).split(" ");
    const worker = this.#find(token);
    if (worker === undefined || Number(protocol) !== PROTOCOL) return connection.close();
    worker.connect(connection);
  }
}

/** The length of the greeting: a UUID, a space, a version with three digits, and a line feed. */
const GREETING_BYTES = 41;

/** Formats the first line that a worker sends. */
export function formatGreeting(token: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${token} ${String(PROTOCOL).padStart(3, "0")}\n`);
}
