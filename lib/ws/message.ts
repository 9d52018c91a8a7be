/**
 * One incoming message. It is converted only on demand.
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

  /** Same as `rawData`. */
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
 * Converts data to a payload as crossws does: text and bytes stay as they are, a message becomes its data, undefined and
 * null become empty text, and anything else becomes JSON text.
 * @throws {TypeError} for a function, and for objects that JSON would show as empty: a Map, a stream, a promise
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

/** Whether an object is plain: made by a literal or by `Object.create(null)`. */
function isPlain(data: object): boolean {
  const prototype = Object.getPrototypeOf(data);
  return prototype === null || prototype === Object.prototype;
}

function unsendable(data: unknown): string {
  const what = typeof data === "object" ? `a ${data?.constructor?.name ?? "object"}` : `a ${typeof data}`;
  const hint = data instanceof Blob
    ? "; send `await blob.bytes()`"
    : data instanceof Map
    ? "; convert it with Object.fromEntries()"
    : "";
  return `Cannot send ${what}: text, bytes or a JSON value is required${hint}`;
}

/** Whether a message exceeds `limit` bytes. Text is counted only if needed: a UTF-16 unit has 1 to 3 bytes. */
export function longerThan(data: string | ArrayBuffer, limit: number): boolean {
  if (typeof data !== "string") return data.byteLength > limit;
  if (data.length * 3 <= limit) return false;
  if (data.length > limit) return true;
  let bytes = data.length;
  for (let i = 0; i < data.length && bytes <= limit; i++) {
    const unit = data.charCodeAt(i);
    // A surrogate pair is two units and four bytes, so each unit adds one byte, like every unit from 0x80 on.
    if (unit >= 0x80) bytes += unit < 0x800 || (unit >= 0xd800 && unit <= 0xdfff) ? 1 : 2;
  }
  return bytes > limit;
}
