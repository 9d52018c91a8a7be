/**
 * What the supervisor and its workers tell each other: one JSON object a line over a unix socket. Requests have a number
 * and get a reply.
 * @module
 */
import { TextLineStream } from "@std/streams/text-line-stream";
import { messageOf } from "../errors.ts";
import type { LogFields } from "../log.ts";
import type { Instruction } from "../net/listener/reuseport_group.ts";
import type { ConnectionTotals } from "../service/worker_context.ts";

/** Version of the messages below: a worker of another version than its supervisor is not taken. */
export const PROTOCOL = 1;

/** What the supervisor asks a worker to do, and what the worker replies. */
export type WorkerRequests = {
  /** Reads the certificate and the token files again; nothing is put to use but the tokens. */
  load: { argument: undefined; reply: { changed: boolean } };
  /** Listens on one more socket of the port, with the certificate that `load` read. */
  bind: { argument: undefined; reply: void };
  /** Chooses which sockets of the port get new connections; null is the kernel's hash. */
  steer: { argument: readonly Instruction[] | null; reply: void };
  /** Waits until no connection waits on its sockets, or on those before the newest. */
  emptyQueues: { argument: "all" | "old"; reply: void };
  /** Stops listening on its sockets, or on those before the newest. */
  closeSockets: { argument: "all" | "old"; reply: void };
  /** Stops listening on the newest socket. */
  dropNext: { argument: undefined; reply: void };
  /** Puts the certificate that `load` read to use, or forgets it. */
  settle: { argument: boolean; reply: void };
};

/** What a worker asks of the supervisor. */
export type SupervisorRequests = {
  /** Reloads certificate and tokens in all workers. */
  reload: { argument: undefined; reply: void };
};

/** How a worker introduces its service. */
export interface Listening {
  /** Port, or 0 where there is none. */
  readonly port: number;
  /** For a person at a terminal. */
  readonly banner: string;
  /** The same for the log. */
  readonly fields: LogFields;
}

/** What a worker tells without being asked. */
export type WorkerMessage =
  /** It is about to listen, and waits for `listen`: one at a time, so that the order of the sockets is known. */
  | { readonly type: "prepared" }
  | { readonly type: "listening"; readonly service: Listening }
  | { readonly type: "heartbeat" }
  | { readonly type: "socket"; readonly change: "lost" | "joined" }
  | { readonly type: "counts"; readonly counts: ConnectionTotals };

/** What the supervisor tells without being asked. */
export type SupervisorMessage =
  /** Listen now. `join`: other workers share the port already. Without a port, on that of the settings. */
  | { readonly type: "listen"; readonly port?: number; readonly join: boolean }
  /** The connections of all other workers, as far as they changed. */
  | { readonly type: "counts"; readonly counts: ConnectionTotals }
  /** Stop; `followed`: others serve the port. */
  | { readonly type: "stop"; readonly followed: boolean };

type Requests = Readonly<Record<string, { argument: unknown; reply: unknown }>>;

/** A function for each request. What it throws becomes the error of the request. */
export type Answers<R extends Requests> = {
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

/** One end. `Asked`: the requests that the other end answers; `Answered`: those that this end answers. */
export class ControlChannel<Asked extends Requests, Answered extends Requests, In, Out> {
  /** Resolves when the connection has ended. Never rejects. */
  readonly ended: Promise<void>;
  readonly #connection: Deno.Conn;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #encoder = new TextEncoder();
  readonly #pending = new Map<number, PromiseWithResolvers<unknown>>();
  #requests = 0;
  #closed = false;

  /**
   * @param onMessage takes what the other end tells
   * @param answers what it asks
   */
  constructor(connection: Deno.Conn, onMessage: (message: In) => void, answers: Answers<Answered>) {
    this.#connection = connection;
    this.#writer = connection.writable.getWriter();
    this.ended = this.#read(onMessage, answers);
  }

  /** Tells something. After the end it does nothing. */
  send(message: Out): void {
    this.#write({ message });
  }

  /**
   * Asks something.
   * @throws {Error} what the other end threw, or that the connection ended before the reply
   */
  request<Name extends keyof Asked & string>(
    name: Name,
    argument: Asked[Name]["argument"],
  ): Promise<Asked[Name]["reply"]> {
    const request = ++this.#requests;
    const pending = Promise.withResolvers<unknown>();
    this.#pending.set(request, pending);
    if (this.#closed) this.#fail();
    else this.#write({ request, name, argument });
    return pending.promise as Promise<Asked[Name]["reply"]>;
  }

  /** Ends the connection. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    try {
      this.#connection.close();
    } catch {
      // Its streams have closed it.
    }
  }

  #write(envelope: Envelope): void {
    if (this.#closed) return;
    this.#writer.write(this.#encoder.encode(JSON.stringify(envelope) + "\n")).catch(() => {});
  }

  async #read(onMessage: (message: In) => void, answers: Answers<Answered>): Promise<void> {
    try {
      const lines = this.#connection.readable.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream());
      for await (const line of lines) {
        const envelope = JSON.parse(line as string) as Envelope;
        if (envelope.request !== undefined) {
          const { request: reply, name = "", argument } = envelope;
          new Promise((resolve) => resolve(answers[name]!(argument))).then(
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
      // The connection broke, which is one way for it to end.
    }
    this.close();
    this.#fail();
  }

  #fail(): void {
    for (const { reject } of this.#pending.values()) reject(new Error("the process at the other end has gone"));
    this.#pending.clear();
  }
}
