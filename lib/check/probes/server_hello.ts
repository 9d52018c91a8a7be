/**
 * Sends a ClientHello and parses the reply: a ServerHello, with the certificates below TLS 1.3, where they are not
 * encrypted; an alert; or bytes that are not TLS.
 * @module
 */
import type { Endpoint, RawConnection } from "../../client/raw_connection.ts";
import { connectTcp } from "../../client/raw_connection.ts";
import { type HelloOptions, type Version, VERSIONS, writeClientHello } from "./client_hello.ts";

/** A reply to a ClientHello. */
export type ServerReply =
  | {
    readonly kind: "hello";
    readonly version: Version;
    readonly suite: number;
    readonly chain: readonly Uint8Array<ArrayBuffer>[];
    /** Whether the server sent a CertificateRequest, which is unencrypted below TLS 1.3 (RFC 5246 section 7.4.4). */
    readonly requestsClientCertificate: boolean;
  }
  | { readonly kind: "alert"; readonly description: number }
  /** The first bytes are not a TLS record. */
  | { readonly kind: "other"; readonly bytes: Uint8Array }
  /** The connection ended before a reply. */
  | { readonly kind: "closed" };

/** The highest number of bytes to read of the server's first flight, enough for a chain of 16 certificates. */
const MAX_BYTES = 128 * 1024;

const HANDSHAKE = 22;
const ALERT = 21;

/** Alerts by number (RFC 8446 section 6.2). */
const ALERTS: Readonly<Record<number, string>> = {
  0: "close_notify",
  10: "unexpected_message",
  20: "bad_record_mac",
  40: "handshake_failure",
  42: "bad_certificate",
  47: "illegal_parameter",
  50: "decode_error",
  70: "protocol_version",
  71: "insufficient_security",
  80: "internal_error",
  86: "inappropriate_fallback",
  109: "missing_extension",
  112: "unrecognized_name",
  116: "certificate_required",
  120: "no_application_protocol",
};

/** Returns the name of an alert. */
export function alertName(description: number): string {
  return ALERTS[description] ?? `alert ${description}`;
}

/**
 * Connects, sends a ClientHello and reads the reply. With `certificates`, reads to the end of the unencrypted part.
 * @throws {Error} if the TCP connection fails
 * @throws the signal's reason if it aborts
 */
export async function sendClientHello(
  endpoint: Endpoint,
  options: HelloOptions & { readonly certificates?: boolean },
  signal: AbortSignal,
): Promise<ServerReply> {
  await using connection = await connectTcp(endpoint, signal);
  await connection.write(writeClientHello(options), signal);
  return await readReply(connection, options.certificates ?? false, signal);
}

/** Reads the reply to a ClientHello, with `certificates` to the end of its unencrypted part. */
export async function readReply(
  connection: RawConnection,
  certificates: boolean,
  signal: AbortSignal,
): Promise<ServerReply> {
  let bytes = new Uint8Array(0);
  let last: ServerReply = { kind: "closed" };
  while (bytes.length < MAX_BYTES) {
    let chunk: Uint8Array | undefined;
    try {
      chunk = await connection.read(signal);
    } catch (error) {
      // The ServerHello is sufficient without the rest of the flight.
      if (last.kind === "hello") return last;
      throw error;
    }
    if (chunk === undefined) return last;
    const joined = new Uint8Array(bytes.length + chunk.length);
    joined.set(bytes);
    joined.set(chunk, bytes.length);
    bytes = joined;
    const parsed = parseFlight(bytes);
    if (parsed === undefined) continue;
    last = parsed.reply;
    const encrypted = last.kind === "hello" && last.version === "TLS 1.3";
    if (last.kind !== "hello" || !certificates || encrypted || parsed.done) return last;
  }
  return last;
}

/** Parses the bytes so far; undefined if they contain no complete reply. `done`: the unencrypted part has ended. */
export function parseFlight(bytes: Uint8Array): { reply: ServerReply; done: boolean } | undefined {
  const messages: number[] = [];
  let at = 0;
  while (at < bytes.length) {
    const type = bytes[at]!;
    const major = bytes[at + 1];
    if ((type !== HANDSHAKE && type !== ALERT && type !== 20) || (major !== undefined && major !== 3)) {
      if (at > 0) break;
      return { reply: { kind: "other", bytes: bytes.slice(0, 64) }, done: true };
    }
    if (at + 5 > bytes.length) break;
    const length = (bytes[at + 3]! << 8) | bytes[at + 4]!;
    const body = bytes.subarray(at + 5, at + 5 + length);
    if (body.length < length && type === ALERT) break;
    if (type === ALERT) {
      const reply = parseServerHello(new Uint8Array(messages));
      // A warning before the ServerHello (unrecognized_name) is not final.
      if (reply === undefined && body[0] !== 1) {
        return { reply: { kind: "alert", description: body[1] ?? 0 }, done: true };
      }
      if (reply !== undefined && body[0] !== 1) return { reply, done: true };
    }
    if (type === HANDSHAKE) { for (const byte of body) messages.push(byte); }
    if (body.length < length) break;
    at += 5 + length;
  }
  const flight = new Uint8Array(messages);
  const reply = parseServerHello(flight);
  return reply && { reply, done: hasMessage(flight, 14) };
}

type ServerHello = Extract<ServerReply, { kind: "hello" }>;

function parseServerHello(flight: Uint8Array): ServerHello | undefined {
  const hello = findMessage(flight, 2);
  if (hello === undefined || hello.length < 38) return undefined;
  const afterId = 35 + hello[34]!;
  let version = (hello[0]! << 8) | hello[1]!;
  const suite = (hello[afterId]! << 8) | hello[afterId + 1]!;
  for (let at = afterId + 5; at + 4 <= hello.length;) {
    const type = (hello[at]! << 8) | hello[at + 1]!;
    const length = (hello[at + 2]! << 8) | hello[at + 3]!;
    if (type === 43 && length === 2) version = (hello[at + 4]! << 8) | hello[at + 5]!;
    at += 4 + length;
  }
  const name = (Object.keys(VERSIONS) as Version[]).find((key) => VERSIONS[key] === version);
  return name &&
    {
      kind: "hello",
      version: name,
      suite,
      chain: parseCertificates(flight),
      requestsClientCertificate: hasMessage(flight, 13),
    };
}

function parseCertificates(flight: Uint8Array): Uint8Array<ArrayBuffer>[] {
  const body = findMessage(flight, 11);
  const chain: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 3; body !== undefined && at + 3 <= body.length && chain.length < 16;) {
    const length = readUint24(body, at);
    if (at + 3 + length > body.length) break;
    chain.push(body.slice(at + 3, at + 3 + length));
    at += 3 + length;
  }
  return chain;
}

/** Returns the body of the first complete handshake message of a type. */
function findMessage(flight: Uint8Array, type: number): Uint8Array<ArrayBuffer> | undefined {
  for (let at = 0; at + 4 <= flight.length;) {
    const length = readUint24(flight, at + 1);
    if (at + 4 + length > flight.length) return undefined;
    if (flight[at] === type) return flight.slice(at + 4, at + 4 + length);
    at += 4 + length;
  }
  return undefined;
}

function hasMessage(flight: Uint8Array, type: number): boolean {
  return findMessage(flight, type) !== undefined;
}

function readUint24(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}
