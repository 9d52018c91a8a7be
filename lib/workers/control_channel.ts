/**
 * The control channel between the supervisor and a worker: one JSON object per line over a unix socket. Requests are
 * numbered and get a reply.
 * @module
 */
import { TextLineStream } from "@std/streams/text-line-stream";
import type { Health } from "../admin/admin_listener.ts";
import type { ApiCommand } from "../admin/api_methods.ts";
import { messageOf } from "../errors.ts";
import type { LogFields } from "../log.ts";
import type { MetricValues } from "../metrics.ts";
import type { TlsText } from "../net/listener/accept_loop.ts";
import type { Instruction } from "../net/listener/reuseport_group.ts";
import type { ReloadResult } from "../service/credential_reloader.ts";
import type { ConnectionTotals, ListenOrder } from "../service/worker_context.ts";

/** The version of the messages below. The supervisor rejects a worker of another version. */
export const PROTOCOL = 5;

/** Requests of the supervisor, and the worker's replies. */
export type WorkerRequests = {
  /** Reads the certificate again, and with `tokens` the token file. Only the tokens take effect. */
  load: { argument: { readonly tokens: boolean }; reply: { changed: boolean } };
  /** Listens on an additional socket of the port, with the certificate that `load` read. */
  bind: { argument: undefined; reply: void };
  /** Selects the sockets of the port that get new connections; null restores the kernel's hash. */
  steer: { argument: readonly Instruction[] | null; reply: void };
  /** Waits until the accept queues are empty: of all the worker's sockets, or of all but the newest ("old"). */
  emptyQueues: { argument: "all" | "old"; reply: void };
  /** Stops listening on all the worker's sockets, or on all but the newest ("old"). */
  closeSockets: { argument: "all" | "old"; reply: void };
  /** Stops listening on the newest socket. */
  dropNext: { argument: undefined; reply: void };
  /** Applies the certificate that `load` read, or discards it. */
  settle: { argument: ReloadResult; reply: void };
  /** Executes a command of the admin API on all nodes. */
  call: { argument: ApiCommand; reply: object };
  /** Returns the metrics of the worker. */
  metrics: { argument: undefined; reply: MetricValues };
  /** Returns the health of the service. */
  health: { argument: undefined; reply: Health };
  /** Returns the certificate in use and its key, for the admin listener; undefined in proxied mode. */
  certificate: { argument: undefined; reply: TlsText | undefined };
};

/** Requests of a worker, and the supervisor's replies. */
export type SupervisorRequests = {
  /** Reloads the certificate in all workers, and with `tokens` the tokens, too. */
  reload: { argument: { readonly tokens: boolean }; reply: void };
};

/** The description of a listening service. */
export interface ServiceDescription {
  /** The port, or 0 without one. */
  readonly port: number;
  /** The description for a terminal. */
  readonly banner: string;
  /** The description for the log. */
  readonly fields: LogFields;
}

/** Notifications of a worker. */
export type WorkerMessage =
  /** The worker waits for `listen`. Workers listen one at a time, so that the order of the sockets is known. */
  | { readonly type: "prepared" }
  | { readonly type: "listening"; readonly service: ServiceDescription }
  | { readonly type: "heartbeat" }
  /** The worker got SIGTERM and asks to be stopped. */
  | { readonly type: "terminated" }
  | { readonly type: "socket"; readonly change: "lost" | "joined" }
  | { readonly type: "counts"; readonly counts: ConnectionTotals };

/** Notifications of the supervisor. */
export type SupervisorMessage =
  /** Listen now. */
  | { readonly type: "listen" } & ListenOrder
  /** The changed connection counts of all other workers. */
  | { readonly type: "counts"; readonly counts: ConnectionTotals }
  /** Stop. `followed`: other workers go on serving the port. */
  | { readonly type: "stop"; readonly followed: boolean };

type Requests = Readonly<Record<string, { argument: unknown; reply: unknown }>>;

/** A handler for each request. An error that it throws rejects the request. */
export type ChannelHandlers<R extends Requests> = {
  readonly [Name in keyof R]: (argument: R[Name]["argument"]) => Promise<R[Name]["reply"]> | R[Name]["reply"];
};

interface Envelope {
  readonly message?: unknown;
  readonly request?: number;
  readonly name?: string;
  readonly argument?: unknown;
  readonly reply?: number;
  readonly value?: unknown;
  readonly error?: string;
}

/** One end of the channel. The other end handles the requests `Sent`; this end handles the requests `Received`. */
export class ControlChannel<Sent extends Requests, Received extends Requests, In, Out> {
  /** Resolves when the connection has ended. Never rejects. */
  readonly ended: Promise<void>;
  readonly #connection: Deno.Conn;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #encoder = new TextEncoder();
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #requests = 0;
  #closed = false;

  /**
   * @param onMessage handles notifications of the other end
   * @param handlers handle requests of the other end
   */
  constructor(connection: Deno.Conn, onMessage: (message: In) => void, handlers: ChannelHandlers<Received>) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.ended = this.#read(onMessage, handlers);
  }

  /** Sends a notification. Does nothing after the channel has ended. */
  send(message: Out): void {
    this.#write({ message });
  }

  /**
   * Sends a request and waits for the reply.
   * @throws {Error} if the other end threw an error, or the connection ended before the reply
   */
  request<Name extends keyof Sent & string>(
    name: Name,
    argument: Sent[Name]["argument"],
  ): Promise<Sent[Name]["reply"]> {
    const request = ++this.#requests;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(request, pending);
    if (this.#closed) this.#fail();
    else this.#write({ request, name, argument });
    return pending.promise as Promise<Sent[Name]["reply"]>;
  }

  /** Whether the connection has ended. */
  get hasEnded(): boolean {
    return this.#closed;
  }

  /** Ends the connection. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#connection.close();
    } catch {
      // The streams have already closed the connection.
    }
  }

  #write(envelope: Envelope): void {
    if (this.#closed) return;
    this.#writer.write(this.#encoder.encode(JSON.stringify(envelope) + "\n")).catch(() => {});
  }

  async #read(onMessage: (message: In) => void, handlers: ChannelHandlers<Received>): Promise<void> {
    try {
      const lines = this.#connection.readable.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
      for await (const line of lines) {
        const envelope = JSON.parse(line as string) as Envelope;
        if (envelope.request !== undefined) {
          const { request: reply, name = "", argument } = envelope;
          new Promise((resolve) => resolve(handlers[name]!(argument))).then(
            (value) => this.#write({ reply, value }),
            (error) => this.#write({ reply, error: messageOf(error) }),
          );
        } else if (envelope.reply !== undefined) {
          const pending = this.#pending.get(envelope.reply);
          this.#pending.delete(envelope.reply);
          if (envelope.error === undefined) pending?.resolve(envelope.value);
          else pending?.reject(new Error(envelope.error));
        } else {
          onMessage(envelope.message as In);
        }
      }
    } catch {
      // A broken connection is handled like a closed one.
    }
    this.close();
    this.#fail();
  }

  #fail(): void {
    for (const { reject } of this.#pending.values()) reject(new Error("the process at the other end has exited"));
    this.#pending.clear();
  }
}
