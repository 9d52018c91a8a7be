/**
 * The broker that connects the workers of one machine: a unix socket to the relay in their supervisor.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";
import type { Broker, BrokerStart, Deliver } from "../broker.ts";
import { Kind, readWire, WireWriter } from "./ipc_frames.ts";
import { ReconnectingBroker, type Session } from "./reconnect.ts";

/** The maximum number of bytes that may wait to be sent. */
const MAX_WAITING_BYTES = 64 * 1024 * 1024;
/** The maximum length of a frame in bytes. */
export const MAX_FRAME = 64 * 1024 * 1024;

/**
 * Connects to the relay that listens on a unix socket.
 * @throws {StartError} if it cannot be reached
 */
export async function openIpc(path: string, start: BrokerStart): Promise<Broker> {
  try {
    const connect = async () => new IpcSession(await Deno.connect({ transport: "unix", path }));
    return await ReconnectingBroker.open([{ name: path, connect }], start);
  } catch (error) {
    throw new StartError(`Cannot connect to the other workers: ${messageOf(error)}`, { cause: error });
  }
}

class IpcSession implements Session {
  readonly maxFrame = MAX_FRAME;
  readonly ended: Promise<string>;
  readonly #connection: Deno.UnixConn;
  readonly #writer: WireWriter;
  readonly #subscriptions = new Map<string, Deliver>();
  readonly #flushes: PromiseWithResolvers<void>[] = [];
  #reason: string | undefined;
  /** Messages received. */
  #received = 0;

  constructor(connection: Deno.UnixConn) {
    this.#connection = connection;
    this.#writer = new WireWriter(connection);
    this.ended = this.#read();
  }

  get progress(): number {
    return this.#received + this.#writer.writtenUnderPressure;
  }

  publish(channel: string, frame: Uint8Array<ArrayBuffer>): boolean {
    if (this.#reason !== undefined || this.#writer.waiting + frame.length > MAX_WAITING_BYTES) return false;
    this.#writer.write(Kind.publish, channel, frame);
    return true;
  }

  subscribe(channel: string, deliver: Deliver): void {
    this.#subscriptions.set(channel, deliver);
    this.#writer.write(Kind.subscribe, channel);
  }

  unsubscribe(channel: string): void {
    this.#subscriptions.delete(channel);
    this.#writer.write(Kind.unsubscribe, channel);
  }

  flush(): Promise<void> {
    if (this.#reason !== undefined) return Promise.reject(new Error(this.#reason));
    const flush = Promise.withResolvers<void>();
    this.#flushes.push(flush);
    this.#writer.write(Kind.flush, "");
    return flush.promise;
  }

  abort(reason: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#connection.close();
  }

  async #read(): Promise<string> {
    let failure = "the supervisor closed the connection";
    try {
      await readWire(this.#connection, MAX_FRAME, (kind, channel, payload) => {
        this.#received++;
        if (kind === Kind.publish) this.#subscriptions.get(channel)?.(payload);
        else if (kind === Kind.flushed) this.#flushes.shift()?.resolve();
      });
    } catch (error) {
      failure = messageOf(error);
    }
    this.abort(failure);
    this.#writer.end();
    for (const flush of this.#flushes.splice(0)) flush.reject(new Error(this.#reason));
    return this.#reason!;
  }
}
