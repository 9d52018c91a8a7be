/**
 * One incoming message, converted only when an app asks.
 * @module
 */
import type { Message, Peer } from "./app_types.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Text or binary as Deno delivers it. */
export class IncomingMessage implements Message {
  readonly rawData: string | ArrayBuffer;
  readonly peer: Peer | undefined;
  #id: string | undefined;

  constructor(data: string | ArrayBuffer, peer?: Peer) {
    this.rawData = data;
    this.peer = peer;
  }

  get id(): string {
    return this.#id ??= crypto.randomUUID();
  }

  /** The same as `rawData`. */
  get data(): string | ArrayBuffer {
    return this.rawData;
  }

  text(): string {
    return typeof this.rawData === "string" ? this.rawData : decoder.decode(this.rawData);
  }

  json<T = unknown>(): T {
    return JSON.parse(this.text()) as T;
  }

  uint8Array(): Uint8Array {
    return typeof this.rawData === "string" ? encoder.encode(this.rawData) : new Uint8Array(this.rawData);
  }

  arrayBuffer(): ArrayBuffer {
    return typeof this.rawData === "string" ? encoder.encode(this.rawData).buffer : this.rawData;
  }

  blob(): Blob {
    return new Blob([this.rawData]);
  }

  toString(): string {
    return this.text();
  }
}

/**
 * What goes out, as crossws has it: text and bytes as they are, a message as what it carries, nothing as empty text,
 * anything else as JSON text.
 * @throws {TypeError} for what JSON shows as an empty object although it is none: a Map, a stream, a promise; a function
 */
export function toPayload(data: unknown): string | ArrayBuffer | Uint8Array<ArrayBuffer> {
  if (typeof data === "string" || data instanceof ArrayBuffer) return data;
  if (ArrayBuffer.isView(data)) {
    const bytes = data as ArrayBufferView<ArrayBuffer>;
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  if (data instanceof IncomingMessage) return data.rawData;
  if (data === undefined || data === null) return "";
  if (typeof data === "bigint") return String(data);
  const text = JSON.stringify(data);
  if (text === undefined || (text === "{}" && !isPlain(data))) throw new TypeError(unsendable(data));
  return text;
}

/** An object without anything of its own, as a literal or `Object.create(null)` makes it. */
function isPlain(data: object): boolean {
  const prototype = Object.getPrototypeOf(data);
  return prototype === null || prototype === Object.prototype;
}

function unsendable(data: unknown): string {
  const what = typeof data === "object" ? `a ${data?.constructor?.name ?? "object"}` : `a ${typeof data}`;
  const hint = data instanceof Blob
    ? "; await its bytes()"
    : data instanceof Map
    ? "; Object.fromEntries() makes one"
    : "";
  return `Cannot send ${what}: text, bytes or what JSON can carry is required${hint}`;
}

/** Whether a message has more bytes than `limit`. Text is counted only near it: UTF-16 units are 1 to 3 bytes each. */
export function longerThan(data: string | ArrayBuffer, limit: number): boolean {
  if (typeof data !== "string") return data.byteLength > limit;
  if (data.length * 3 <= limit) return false;
  if (data.length > limit) return true;
  let bytes = data.length;
  for (let i = 0; i < data.length && bytes <= limit; i++) {
    const unit = data.charCodeAt(i);
    // A surrogate pair is two units and four bytes, so each of the two counts one more, like any unit from 0x80 on.
    if (unit >= 0x80) bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2;
  }
  return bytes > limit;
}
