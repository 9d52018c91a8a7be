/**
 * Frames, which nodes exchange: a small binary header and a payload.
 *
 *     0   6  id of the publishing node
 *     6   1  kind of the frame: see the constants
 *     7   4  epoch: changes when the publisher restarts its numbering in this channel
 *     11  4  sequence number of the frame in its channel and epoch, from 0
 *     15  16 a peer's id, if the kind has ADDRESSED
 *         …  the payload: UTF-8, bytes, or JSON of a command
 *
 * Integers are big-endian.
 * @module
 */
import { NODE_BYTES } from "./broker.ts";
import type { Payload } from "./topics.ts";

export const TEXT = 0;
export const BINARY = 1;
export const COMMAND = 2;
/**
 * Added to TEXT or BINARY: a peer's id precedes the payload. In a frame for a topic that peer is excluded; in any other
 * frame that peer is the recipient.
 */
export const ADDRESSED = 4;

/** Bytes before the payload, without a peer's id. */
export const HEADER = NODE_BYTES + 9;
const PEER_BYTES = 16;
/** The most bytes before the payload. */
export const LONGEST_HEADER = HEADER + PEER_BYTES;

/** Text up to this length is encoded directly into a frame with room for the longest result: 3 bytes per UTF-16 unit. */
const SHORT = 4096;

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** Encodes a payload as a frame. {@link stamp} sets its origin and number when it is sent. */
export function encodePayload(payload: Payload, peer?: Uint8Array): Uint8Array<ArrayBuffer> {
  const start = peer === undefined ? HEADER : LONGEST_HEADER;
  const addressed = peer === undefined ? 0 : ADDRESSED;
  let frame: Uint8Array<ArrayBuffer>;
  if (typeof payload !== "string") {
    frame = new Uint8Array(start + payload.byteLength);
    frame.set(payload instanceof Uint8Array ? payload : new Uint8Array(payload), start);
    frame[NODE_BYTES] = BINARY | addressed;
  } else if (payload.length <= SHORT) {
    const room = new Uint8Array(start + payload.length * 3);
    frame = room.subarray(0, start + encoder.encodeInto(payload, room.subarray(start)).written);
    frame[NODE_BYTES] = TEXT | addressed;
  } else {
    const bytes = encoder.encode(payload);
    frame = new Uint8Array(start + bytes.length);
    frame.set(bytes, start);
    frame[NODE_BYTES] = TEXT | addressed;
  }
  if (peer !== undefined) frame.set(peer, HEADER);
  return frame;
}

/** Encodes a command as a frame. */
export function encodeCommand(command: unknown): Uint8Array<ArrayBuffer> {
  const frame = encodePayload(JSON.stringify(command));
  frame[NODE_BYTES] = COMMAND;
  return frame;
}

/** Writes the publishing node, the epoch and the sequence number into a frame. */
export function stamp(frame: Uint8Array, node: Uint8Array, epoch: number, number: number): void {
  for (let i = 0; i < NODE_BYTES; i++) frame[i] = node[i]!;
  writeUint32(frame, NODE_BYTES + 1, epoch);
  writeUint32(frame, NODE_BYTES + 5, number);
}

/** The publishing node as a number. */
export function originOf(frame: Uint8Array): number {
  return (frame[0]! << 8 | frame[1]!) * 2 ** 32 + readUint32(frame, 2);
}

export function epochOf(frame: Uint8Array): number {
  return readUint32(frame, NODE_BYTES + 1);
}

export function numberOf(frame: Uint8Array): number {
  return readUint32(frame, NODE_BYTES + 5);
}

export function kindOf(frame: Uint8Array): number {
  return frame[NODE_BYTES]!;
}

/** The peer of a frame with {@link ADDRESSED}. */
export function peerOf(frame: Uint8Array): string {
  const hex = frame.subarray(HEADER, LONGEST_HEADER).toHex();
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The payload; bytes are a view of the frame. */
export function payloadOf(frame: Uint8Array<ArrayBuffer>): Payload {
  const kind = kindOf(frame);
  const payload = frame.subarray(kind & ADDRESSED ? LONGEST_HEADER : HEADER);
  return kind & BINARY ? payload : decoder.decode(payload);
}

/** The command of a frame, or undefined if it is not valid JSON. */
export function commandOf(frame: Uint8Array<ArrayBuffer>): unknown {
  try {
    return JSON.parse(decoder.decode(frame.subarray(HEADER)));
  } catch {
    return undefined;
  }
}

const PEER = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** A peer's id as bytes, or undefined if the string is not a peer's id. */
export function peerBytes(id: string): Uint8Array<ArrayBuffer> | undefined {
  return PEER.test(id) ? Uint8Array.fromHex(id.replaceAll("-", "")) : undefined;
}

/** The node of a peer, which is the last group of the peer's id. Undefined if the string is not a peer's id. */
export function nodeOfPeer(id: string): string | undefined {
  return PEER.test(id) ? id.slice(24) : undefined;
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

function readUint32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 24 | bytes[at + 1]! << 16 | bytes[at + 2]! << 8 | bytes[at + 3]!) >>> 0;
}
