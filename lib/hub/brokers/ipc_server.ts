/**
 * The relay between the workers of one machine. It forwards each frame to the other workers that are subscribed to the
 * frame's channel, and stores nothing.
 * @module
 */
import { MAX_FRAME } from "./ipc.ts";
import { Kind, readWire, WireWriter } from "./ipc_frames.ts";

/**
 * The maximum number of bytes that may wait for one worker. If more wait, the relay stops reading from the publishing
 * worker until that worker has read them. A burst between healthy workers thus loses no message.
 */
const HIGH_WATER_MARK = 16 * 1024 * 1024;
/**
 * A worker that reads nothing in this many checks while the limit is exceeded is disconnected. It reconnects. One check
 * would not suffice: if this process does not run for a while, its timer ends before it has seen what the worker read.
 */
const STALL_CHECKS = 4;
/** Milliseconds between two checks. */
const CHECK_INTERVAL = 250;

/** Options of an IPC server. */
export interface IpcServerOptions {
  /** The path of the unix socket. Only this user should have access to its folder. */
  readonly path: string;
  /** Called when a worker was disconnected because it read nothing. */
  readonly onStall?: () => void;
}

/** A listening relay. */
export class IpcServer implements AsyncDisposable {
  readonly #listener: Deno.UnixListener;
  readonly #onStall: (() => void) | undefined;
  readonly #channels = new Map<string, Set<WorkerConnection>>();
  readonly #workers = new Set<WorkerConnection>();
  readonly #accepting: Promise<void>;

  constructor({ path, onStall }: IpcServerOptions) {
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#onStall = onStall;
    this.#accepting = this.#accept();
  }

  /** Ends all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const worker of this.#workers) worker.close();
    await this.#accepting;
    await Promise.all([...this.#workers].map(({ ended }) => ended));
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        const worker: WorkerConnection = new WorkerConnection(
          connection,
          (kind, channel, message) => this.#handle(worker, kind, channel, message),
        );
        this.#workers.add(worker);
        void worker.ended.then(() => this.#remove(worker));
      }
    } catch {
      // Closed.
    }
  }

  #handle(
    worker: WorkerConnection,
    kind: number,
    channel: string,
    message: Uint8Array<ArrayBuffer>,
  ): void | Promise<void> {
    switch (kind) {
      case Kind.publish:
        return this.#publish(worker, channel, message);
      case Kind.subscribe: {
        const workers = this.#channels.get(channel) ?? new Set();
        this.#channels.set(channel, workers.add(worker));
        worker.channels.add(channel);
        return;
      }
      case Kind.unsubscribe:
        worker.channels.delete(channel);
        return this.#removeFromChannel(worker, channel);
      case Kind.flush:
        return worker.writer.write(Kind.flushed, "");
    }
  }

  #publish(from: WorkerConnection, channel: string, message: Uint8Array<ArrayBuffer>): void | Promise<void> {
    const workers = this.#channels.get(channel);
    if (workers === undefined) return;
    let full: WorkerConnection[] | undefined;
    for (const worker of workers) {
      if (worker === from) continue;
      worker.writer.forward(message);
      if (worker.writer.waiting > HIGH_WATER_MARK) (full ??= []).push(worker);
    }
    if (full !== undefined) return this.#wait(from, full);
  }

  /**
   * Waits until these workers have read enough of their messages. Disconnects a worker that reads nothing. The publisher,
   * whose messages wait, would take a relay that sends nothing for one that hangs.
   */
  async #wait(publisher: WorkerConnection, workers: readonly WorkerConnection[]): Promise<void> {
    for (const worker of workers) {
      let idle = 0;
      while (worker.writer.waiting > HIGH_WATER_MARK && idle < STALL_CHECKS) {
        const { written } = worker.writer;
        await worker.writer.drained(CHECK_INTERVAL);
        publisher.writer.write(Kind.held, "");
        idle = worker.writer.written === written ? idle + 1 : 0;
      }
      if (worker.writer.waiting > HIGH_WATER_MARK) {
        worker.close();
        this.#onStall?.();
      }
    }
  }

  #remove(worker: WorkerConnection): void {
    this.#workers.delete(worker);
    for (const channel of worker.channels) this.#removeFromChannel(worker, channel);
  }

  #removeFromChannel(worker: WorkerConnection, channel: string): void {
    const workers = this.#channels.get(channel);
    if (workers?.delete(worker) && workers.size === 0) this.#channels.delete(channel);
  }
}

/** The connection of one worker. */
class WorkerConnection {
  readonly writer: WireWriter;
  readonly channels = new Set<string>();
  readonly ended: Promise<void>;
  readonly #connection: Deno.UnixConn;
  #closed = false;

  constructor(
    connection: Deno.UnixConn,
    handle: (kind: number, channel: string, message: Uint8Array<ArrayBuffer>) => void | Promise<void>,
  ) {
    this.#connection = connection;
    this.writer = new WireWriter(connection);
    this.ended = readWire(connection, MAX_FRAME, (kind, channel, _payload, message) => handle(kind, channel, message))
      .catch(() => {})
      .finally(() => this.close());
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.writer.end();
    this.#connection.close();
  }
}
