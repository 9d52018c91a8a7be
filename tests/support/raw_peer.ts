/**
 * A client that can violate the protocol: it sends any bytes and records the frames that the service sends.
 * @module
 */
import { type Frame, FrameError, FrameReader } from "../../lib/client/frames.ts";
import { loadFfi } from "../../lib/net/ffi/load_ffi.ts";
import { maskedFrame, Opcode, textFrame } from "./frames.ts";
import { closeQuietly, dial, handshake, type RawTarget, tryWrite, writeAll } from "./raw.ts";

// The C library stays loaded until the process ends. Loading it before the first test prevents a leak report.
loadFfi();

/** Options of a connection. */
export interface RawOptions {
  /** The name that the client sends as `?name=`. */
  readonly name?: string;
  /** If false, the client reads nothing after the 101, and the service's TCP window closes. */
  readonly reading?: boolean;
  /** Whether the client answers a close frame. Default true. */
  readonly answering?: boolean;
  readonly hostname?: string;
}

/** How the connection ended: with a close frame from the service or without one. */
export interface RawEnd {
  /** The code of the close frame. It is 1005 for an empty frame, and undefined if no close frame arrived. */
  readonly code: number | undefined;
  readonly reason: string;
  /** The protocol error in the service's output. */
  readonly broken?: string;
}

const decoder = new TextDecoder();

/** An upgraded connection. Disposing of it closes the connection without a close frame. */
export class RawPeer implements AsyncDisposable {
  /** All data frames and control frames received so far. */
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

  /** Connects and upgrades. @throws {Error} with the first line of the response if the status is not 101 */
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

  /** Starts reading. */
  read(): Promise<RawEnd> {
    return this.#reading ??= this.#read();
  }

  /** Resolves when either side has ended the connection. */
  get ended(): Promise<RawEnd> {
    return this.read();
  }

  /** Writes bytes unchanged. Returns false if the service has closed the connection. */
  async send(...parts: Uint8Array<ArrayBuffer>[]): Promise<boolean> {
    for (const part of parts) if (!await tryWrite(this.#conn, part)) return false;
    return true;
  }

  /** The texts of the data frames received so far. */
  get texts(): string[] {
    return this.frames.filter(({ opcode }) => opcode === Opcode.Text).map(({ payload }) => decoder.decode(payload));
  }

  /** Resolves once the frames satisfy the condition. @throws {Error} if the connection ends first */
  async until(condition: () => boolean): Promise<void> {
    this.read();
    while (!condition()) {
      if (this.#over) throw new Error("the connection ended before");
      await new Promise<void>((resolve) => this.#watchers.add(resolve));
    }
  }

  /** Sends text and waits for the next data frame. */
  async ask(text: string): Promise<string> {
    const before = this.texts.length;
    await this.send(textFrame(text));
    await this.until(() => this.texts.length > before);
    return this.texts[before]!;
  }

  /** Closes the connection without a close frame. */
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
      // The first iteration handles the bytes that arrived with the 101.
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
      // Any other error is a reset, or this side closed the connection.
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

/** Reads the response to an upgrade and returns the bytes after it. @throws {Error} if the status is not 101 */
async function upgraded(conn: Deno.Conn): Promise<Uint8Array> {
  // Latin-1 maps each byte to one character, so an index in the text is also an index in the bytes.
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
