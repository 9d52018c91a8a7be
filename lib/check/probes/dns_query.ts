/**
 * Sends one query to the machine's name server (RFC 1035) for its response code. getaddrinfo, node:dns and
 * Deno.resolveDns report NXDOMAIN, SERVFAIL and an empty answer in the same way (measured on Deno 2.9.6).
 * @module
 */
import { createSocket } from "node:dgram";
import { Buffer } from "node:buffer";
import { isIPv6 } from "node:net";
import { domainToASCII } from "node:url";
import { untilAborted } from "../../client/deadline.ts";

/** The reply of a name server. */
export interface DnsReply {
  /** The server's address. */
  readonly server: string;
  /** The response code: NOERROR, NXDOMAIN, SERVFAIL, REFUSED, or RCODE and its number. */
  readonly code: string;
  /** Whether the reply contains an address. */
  readonly hasAddress: boolean;
}

const RESPONSE_CODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/** The file that lists the name servers of the system's resolver. */
const RESOLVER_FILE = "/etc/resolv.conf";

/**
 * Queries the first name server of resolv.conf for the name's IPv4 addresses.
 * @throws {Error} if there is no name server, the query cannot be sent, or the signal aborts first
 */
export async function queryDns(name: string, signal: AbortSignal): Promise<DnsReply> {
  const text = await Deno.readTextFile(RESOLVER_FILE);
  const server = /^\s*nameserver\s+(\S+)/m.exec(text)?.[1];
  if (server === undefined) throw new Error(`${RESOLVER_FILE} names no name server`);
  const id = crypto.getRandomValues(new Uint16Array(1))[0]!;
  const socket = createSocket(isIPv6(server) ? "udp6" : "udp4");
  try {
    const { promise, resolve, reject } = Promise.withResolvers<DnsReply>();
    socket.on("error", reject);
    socket.on("message", (reply: Uint8Array) => {
      if (reply.length < 12 || ((reply[0]! << 8) | reply[1]!) !== id) return;
      const code = reply[3]! & 15;
      resolve({ server, code: RESPONSE_CODES[code] ?? `RCODE ${code}`, hasAddress: hasAddressRecord(reply) });
    });
    const question = Buffer.from(encodeQuestion(domainToASCII(name) || name, id));
    // node:dgram reports ENETUNREACH as UNKNOWN (measured on Deno 2.9.6), so its message does not help.
    socket.send(question, 53, server, (error) => error && reject(new Error(`a query cannot be sent to ${server}`)));
    return await untilAborted(signal, promise);
  } finally {
    socket.close();
  }
}

/** Whether a reply contains an A record. A name can also have only a CNAME to a name without an address. */
function hasAddressRecord(reply: Uint8Array): boolean {
  const word = (at: number) => ((reply[at] ?? 0) << 8) | (reply[at + 1] ?? 0);
  const afterName = (start: number) => {
    let at = start;
    while (at < reply.length && reply[at] !== 0 && reply[at]! < 0xc0) at += reply[at]! + 1;
    return at + (reply[at] === 0 ? 1 : 2);
  };
  let at = 12;
  for (let count = word(4); count > 0 && at < reply.length; count--) at = afterName(at) + 4;
  for (let count = word(6); count > 0 && at < reply.length; count--) {
    at = afterName(at);
    if (word(at) === 1) return true;
    at += 10 + word(at + 8);
  }
  return false;
}

/** Encodes a query for A records with recursion (RFC 1035 section 4.1). @throws {RangeError} for a label over 63 bytes */
function encodeQuestion(name: string, id: number): Uint8Array {
  const labels = name.replace(/\.$/, "").split(".").map((label) => new TextEncoder().encode(label));
  if (labels.some(({ length }) => length === 0 || length > 63)) throw new RangeError(`${name} is not a domain name`);
  const header = [id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
  return new Uint8Array([...header, ...labels.flatMap((label) => [label.length, ...label]), 0, 0, 1, 0, 1]);
}
