/**
 * One worker process, as its supervisor sees it.
 * @module
 */
import { messageOf, StartError } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { ConnectionTotals } from "../service/worker_context.ts";
import {
  ControlChannel,
  type Listening,
  PROTOCOL,
  type SupervisorMessage,
  type SupervisorRequests,
  type WorkerMessage,
  type WorkerRequests,
} from "./control_channel.ts";

/** What a worker is told through its environment. */
export interface WorkerNote {
  /** From 1. */
  readonly index: number;
  readonly count: number;
  /** The unix socket of the control channel. */
  readonly control: string;
  /** The unix socket of the relay; undefined where a broker connects the workers. */
  readonly relay?: string;
  /** Shows that a connection comes from this worker. */
  readonly token: string;
}

/** The supervisor's end of a control channel. */
export type WorkerChannel = ControlChannel<WorkerRequests, SupervisorRequests, WorkerMessage, SupervisorMessage>;

/** How to start a worker. */
export interface WorkerStart {
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly note: WorkerNote;
  readonly log: Logger;
}

/** What happens to a worker. */
export interface WorkerEvents {
  /** It is about to listen and waits for its turn. */
  prepared(worker: WorkerProcess): void;
  socket(worker: WorkerProcess, change: "lost" | "joined"): void;
  counts(worker: WorkerProcess, counts: ConnectionTotals): void;
  /** It asks to reload all workers. */
  reload(): Promise<void>;
}

/** See the module. */
export class WorkerProcess {
  readonly index: number;
  readonly token: string;
  readonly pid: number;
  /** How it introduced its service. Rejects when it ends before, with its exit code in the message. */
  readonly listening: Promise<Listening>;
  /** Resolves when the process has ended. Never rejects. */
  readonly exited: Promise<Deno.CommandStatus>;
  /** When it was last heard of, ms of `performance.now()`. */
  heardAt = performance.now();
  /** Whether it has been told to stop: its end is no accident then. */
  stopping = false;
  isListening = false;
  hasExited = false;
  readonly #child: Deno.ChildProcess;
  readonly #events: WorkerEvents;
  readonly #listening = Promise.withResolvers<Listening>();
  #channel: WorkerChannel | undefined;

  /** @throws {StartError} the program cannot be started */
  constructor({ command, note }: WorkerStart, events: WorkerEvents) {
    this.index = note.index;
    this.token = note.token;
    this.#events = events;
    const [program, ...args] = command;
    try {
      this.#child = new Deno.Command(program!, {
        args,
        env: { WSS_WORKER: JSON.stringify(note) },
        stdin: "null",
        stdout: "inherit",
        stderr: "inherit",
      }).spawn();
    } catch (error) {
      throw new StartError(
        `Cannot start a worker: ${program} does not run (${messageOf(error)}); --allow-run is required`,
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

  /** The worker has connected. */
  connected(connection: Deno.Conn): void {
    this.#channel = new ControlChannel<WorkerRequests, SupervisorRequests, WorkerMessage, SupervisorMessage>(
      connection,
      (message) => this.#take(message),
      { reload: () => this.#events.reload() },
    );
  }

  /** Tells it something; nothing where it has not connected or has gone. */
  send(message: SupervisorMessage): void {
    this.#channel?.send(message);
  }

  /** Asks it something. @throws {Error} what it threw, or that it has gone */
  request<Name extends keyof WorkerRequests>(
    name: Name,
    argument: WorkerRequests[Name]["argument"],
  ): Promise<WorkerRequests[Name]["reply"]> {
    if (this.#channel === undefined) return Promise.reject(new Error("the worker is not connected"));
    return this.#channel.request(name, argument);
  }

  /** Asks it to stop: connections get their time. */
  stop(followed: boolean): void {
    this.stopping = true;
    if (this.#channel === undefined) this.kill();
    else this.send({ type: "stop", followed });
  }

  /** Ends it at once. */
  kill(): void {
    this.stopping = true;
    this.signal("SIGKILL");
  }

  /** Sends a signal; nothing where it has ended. */
  signal(signal: Deno.Signal): void {
    try {
      this.#child.kill(signal);
    } catch {
      // It has ended.
    }
  }

  #take(message: WorkerMessage): void {
    this.heardAt = performance.now();
    switch (message.type) {
      case "prepared":
        return this.#events.prepared(this);
      case "listening":
        this.isListening = true;
        return this.#listening.resolve(message.service);
      case "socket":
        return this.#events.socket(this, message.change);
      case "counts":
        return this.#events.counts(this, message.counts);
    }
  }
}

/** A worker ended before it listened. */
export class WorkerFailure extends Error {
  override readonly name = "WorkerFailure";
  readonly status: Deno.CommandStatus;

  constructor(status: Deno.CommandStatus) {
    super(`it ended before it listened (${describeStatus(status)})`);
    this.status = status;
  }
}

/** `exit code 1`, `signal SIGKILL`. */
export function describeStatus({ code, signal }: Deno.CommandStatus): string {
  return signal === null ? `exit code ${code}` : `signal ${signal}`;
}

/** Accepts the connections of workers, and hands each to the worker whose token it shows. */
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
      for await (const connection of this.#listener) void this.#greet(connection);
    } catch {
      // Closed.
    }
  }

  /** The first line is the token and the version of the protocol. */
  async #greet(connection: Deno.Conn): Promise<void> {
    const buffer = new Uint8Array(GREETING_BYTES);
    for (let length = 0; length < buffer.length;) {
      const count = await connection.read(buffer.subarray(length)).catch(() => null);
      if (count === null) return connection.close();
      length += count;
    }
    const [token = "", protocol] = new TextDecoder().decode(buffer).split(" ");
    const worker = this.#find(token);
    if (worker === undefined || Number(protocol) !== PROTOCOL) return connection.close();
    worker.connected(connection);
  }
}

/** A UUID, a space, a version of three digits, a newline. */
const GREETING_BYTES = 41;

/** What a worker sends first. */
export function greeting(token: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${token} ${String(PROTOCOL).padStart(3, "0")}\n`);
}
