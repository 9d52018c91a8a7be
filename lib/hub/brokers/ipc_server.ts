/**
 * The relay between the workers of one machine. It forwards each frame to the other workers that are subscribed to the
 * frame's channel, and stores nothing.
 * @module
 */
import { LONGEST_FRAME } from "./ipc.ts";
import { Kind, readWire, WireWriter } from "./ipc_frames.ts";

/**
 * The most bytes that may wait for one worker. Beyond that the relay stops reading from the publishing worker until they
 * are taken, so that no message of a burst between healthy workers is lost.
 */
const HIGH_WATER = 16 * 1024 * 1024;
/** A worker that takes nothing for this many milliseconds while the limit is exceeded is disconnected. It reconnects. */
const STALL_TIMEOUT = 1_000;

/** Options of an IPC server. */
export interface IpcServerOptions {
  /** The path of the unix socket. Only this user should have access to its folder. */
  readonly path: string;
  /** Called when a worker was disconnected because it took nothing. */
  readonly onStall?: () => void;
}

/** A listening relay. */
export class IpcServer implements AsyncDisposable {
  readonly #listener: Deno.UnixListener;
  readonly #onStall: (() => void) | undefined;
  readonly #channels = new Map<string, Set<Link>>();
  readonly #links = new Set<Link>();
  readonly #accepting: Promise<void>;

  constructor({ path, onStall }: IpcServerOptions) {
    this.#listener = Deno.listen({ transport: "unix", path });
    this.#onStall = onStall;
    this.#accepting = this.#accept();
  }

  /** Ends all connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const link of this.#links) link.close();
    await this.#accepting;
    await Promise.all([...this.#links].map(({ ended }) => ended));
  }

  async #accept(): Promise<void> {
    try {
      for await (const connection of this.#listener) {
        const link: Link = new Link(connection, (kind, channel, message) => this.#take(link, kind, channel, message));
        this.#links.add(link);
        void link.ended.then(() => this.#remove(link));
      }
    } catch {
      // Closed.
    }
  }

  #take(link: Link, kind: number, channel: string, message: Uint8Array<ArrayBuffer>): void | Promise<void> {
    switch (kind) {
      case Kind.publish:
        return this.#publish(link, channel, message);
      case Kind.subscribe: {
        const links = this.#channels.get(channel) ?? new Set();
        this.#channels.set(channel, links.add(link));
        link.channels.add(channel);
        return;
      }
      case Kind.unsubscribe:
        link.channels.delete(channel);
        return this.#leave(link, channel);
      case Kind.flush:
        return link.writer.write(Kind.flushed, "");
    }
  }

  #publish(from: Link, channel: string, message: Uint8Array<ArrayBuffer>): void | Promise<void> {
    const links = this.#channels.get(channel);
    if (links === undefined) return;
    let full: Link[] | undefined;
    for (const link of links) {
      if (link === from) continue;
      link.writer.forward(message);
      if (link.writer.waiting > HIGH_WATER) (full ??= []).push(link);
    }
    if (full !== undefined) return this.#wait(full);
  }

  /** Waits until these workers have taken enough of their messages. Disconnects a worker that takes nothing. */
  async #wait(links: readonly Link[]): Promise<void> {
    for (const link of links) {
      let written = -1;
      while (link.writer.waiting > HIGH_WATER && link.writer.written !== written) {
        written = link.writer.written;
        const stalled = Promise.withResolvers<void>();
        const timer = setTimeout(stalled.resolve, STALL_TIMEOUT);
        await Promise.race([link.writer.drained(), stalled.promise]);
        clearTimeout(timer);
      }
      if (link.writer.waiting > HIGH_WATER) {
        link.close();
        this.#onStall?.();
      }
    }
  }

  #remove(link: Link): void {
    this.#links.delete(link);
    for (const channel of link.channels) this.#leave(link, channel);
  }

  #leave(link: Link, channel: string): void {
    const links = this.#channels.get(channel);
    if (links?.delete(link) && links.size === 0) this.#channels.delete(channel);
  }
}

/** The connection of one worker. */
class Link {
  readonly writer: WireWriter;
  readonly channels = new Set<string>();
  readonly ended: Promise<void>;
  readonly #connection: Deno.UnixConn;
  #closed = false;

  constructor(
    connection: Deno.UnixConn,
    take: (kind: number, channel: string, message: Uint8Array<ArrayBuffer>) => void | Promise<void>,
  ) {
    this.#connection = connection;
    this.writer = new WireWriter(connection);
    this.ended = readWire(connection, LONGEST_FRAME, (kind, channel, _payload, message) => take(kind, channel, message))
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
