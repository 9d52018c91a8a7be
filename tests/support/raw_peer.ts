/**
 * A client that can break every rule: bytes on a connection, and the frames that come back.
 * @module
 */
import { type Frame, FrameError, FrameReader } from "../../lib/client/frames.ts";
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";
import { maskedFrame, Opcode, textFrame } from "./frames.ts";
import { closeQuietly, dial, handshake, type RawTarget, tryWrite, writeAll } from "./raw.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
loadFfi();

/** How to connect. */
export interface RawOptions {
  /** Goes along as `?name=`. */
  readonly name?: string;
  /** False: nothing is read after the 101, and the service's window closes. */
  readonly reading?: boolean;
  /** Whether a close frame is answered. Default: it is. */
  readonly answering?: boolean;
  readonly hostname?: string;
}

/** How its connection ended: by the service's close frame or without one. */
export interface RawEnd {
  /** The close frame's code; undefined where none came; 1005 for an empty one. */
  readonly code: number | undefined;
  readonly reason: string;
  /** What was wrong with what the service sent. */
  readonly broken?: string;
}

const decoder = new TextDecoder();

/** An upgraded connection. Disposing of it drops it, without a close frame. */
export class RawPeer implements AsyncDisposable {
  /** All data frames and control frames so far. */
  readonly frames: Frame[] = [];
  readonly #conn: Deno.Conn;
  readonly #answering: boolean;
  readonly #reader = new FrameReader(64 * 1024 * 1024);
  readonly #watchers = new Set<() => void>();
  #reading: Promise<RawEnd> | undefined;
  #over = false;

  private constructor(conn: Deno.Conn, answering: boolean) {
    this.#conn = conn;
    this.#answering = answering;
  }

  /** @throws {Error} with the answer's first line when it is not 101 */
  static async open({ port, ca, hostname = "127.0.0.1" }: RawTarget, options: RawOptions = {}): Promise<RawPeer> {
    const { name = "nobody", reading = true, answering = true } = options;
    const conn = await dial({ port, ca, hostname: options.hostname ?? hostname });
    try {
      await writeAll(conn, handshake({ target: `/?name=${name}` }));
      const peer = new RawPeer(conn, answering);
      peer.#reader.push(await upgraded(conn));
      if (reading) peer.read();
      return peer;
    } catch (error) {
      closeQuietly(conn);
      throw error;
    }
  }

  /** Begins to read. */
  read(): Promise<RawEnd> {
    return this.#reading ??= this.#read();
  }

  /** Resolves when the service has ended the connection, or this side has. */
  get ended(): Promise<RawEnd> {
    return this.read();
  }

  /** Writes bytes as they are; false if the service has closed the connection. */
  async send(...parts: Uint8Array<ArrayBuffer>[]): Promise<boolean> {
    for (const part of parts) if (!await tryWrite(this.#conn, part)) return false;
    return true;
  }

  /** The text of data frames so far. */
  get texts(): string[] {
    return this.frames.filter(({ opcode }) => opcode === Opcode.Text).map(({ payload }) => decoder.decode(payload));
  }

  /** Resolves once the frames are as wanted. @throws {Error} when the connection ends before */
  async until(condition: () => boolean): Promise<void> {
    this.read();
    while (!condition()) {
      if (this.#over) throw new Error("the connection ended before");
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  /** Sends text and waits for one more data frame. */
  async ask(text: string): Promise<string> {
    const before = this.texts.length;
    await this.send(textFrame(text));
    await this.until(() => this.texts.length > before);
    return this.texts[before]!;
  }

  /** Drops the connection. */
  drop(): void {
    closeQuietly(this.#conn);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop();
    await this.#reading;
  }

  async #read(): Promise<RawEnd> {
    let end: RawEnd = { code: undefined, reason: "" };
    const buffer = new Uint8Array(65_536);
    try {
      // The first round is for what came with the 101.
      for (let count: number | null = 0; count !== null; count = await this.#conn.read(buffer)) {
        this.#reader.push(buffer.slice(0, count));
        for (let frame; (frame = this.#reader.next()) !== undefined;) {
          this.frames.push(frame);
          if (frame.opcode !== Opcode.Close) continue;
          end = endOf(frame.payload);
          if (this.#answering) await this.send(maskedFrame(Opcode.Close, frame.payload));
        }
        this.#wake();
      }
    } catch (error) {
      // Anything else is a reset, or this side dropped it.
      if (error instanceof FrameError) end = { ...end, broken: error.message };
    }
    this.#over = true;
    this.#wake();
    return end;
  }

  #wake(): void {
    for (const watcher of this.#watchers) watcher();
    this.#watchers.clear();
  }
}

/** Reads the answer to an upgrade; the bytes after it. @throws {Error} when it is not 101 */
async function upgraded(conn: Deno.Conn): Promise<Uint8Array> {
  // Latin-1, so that an index in the text is one in the bytes.
  const latin1 = new TextDecoder("latin1");
  const buffer = new Uint8Array(4096);
  for (let length = 0, head = ""; length < buffer.length;) {
    const count = await conn.read(buffer.subarray(length));
    if (count === null) throw new Error(`the connection ended in the head: ${JSON.stringify(head)}`);
    head = latin1.decode(buffer.subarray(0, length += count));
    const end = head.indexOf("\r\n\r\n");
    if (end < 0) continue;
    if (!head.startsWith("HTTP/1.1 101 ")) throw new Error(`no upgrade: ${head.split("\r\n")[0]}`);
    return buffer.slice(end + 4, length);
  }
  throw new Error("the head is longer than 4 KiB");
}

function endOf(payload: Uint8Array): RawEnd {
  if (payload.length < 2) return { code: 1005, reason: "" };
  return { code: (payload[0]! << 8) | payload[1]!, reason: decoder.decode(payload.subarray(2)) };
}
