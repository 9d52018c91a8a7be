/**
 * Checks from this machine whether an authority could reach it under a name, without asking the authority.
 * @module
 */
import { messageOf } from "../../errors.ts";
import type { Finding } from "../../diagnostic_finding.ts";
import { addressIn } from "../x509/certificate_names.ts";

/** Options of the check. */
export interface ReachabilityOptions {
  /** Answers for a token on the challenge port until the returned function is called. */
  readonly respond: (token: string, answer: string) => () => void;
  /** The port that authorities connect to (RFC 8555 section 8.3). Default 80. */
  readonly port?: number;
  /** Timeout of each step, ms. Default 5000. */
  readonly timeout?: number;
  /** The name server to ask. Default: the system's. */
  readonly nameServer?: { readonly ipAddr: string; readonly port: number };
}

const MAX_RESPONSE_BYTES = 4096;

/**
 * Looks up a name, and requests a challenge of this process from each of its addresses. A failed connection is only a
 * warning, because some routers do not let a machine reach its own public address.
 *
 * Codes: `acme-reachable`, `acme-no-address`, `acme-lookup-failed`, `acme-refused`, `acme-timeout`,
 * `acme-other-server`.
 */
export async function inspectReach(name: string, options: ReachabilityOptions): Promise<Finding[]> {
  const { timeout = 5000 } = options;
  const literal = addressIn(name);
  let addresses: readonly string[];
  try {
    addresses = literal === undefined ? await lookUp(name, options, timeout) : [literal];
  } catch (error) {
    const fact = `The name ${name} could not be looked up: ${messageOf(error)}.`;
    return [{ code: "acme-lookup-failed", level: "warning", fact, remedy: "Check this machine's name server." }];
  }
  if (addresses.length === 0) {
    const fact = `No address is found for the name ${name} (A or AAAA record).`;
    const remedy = "Add one with this machine's address at the domain's provider, and wait until it is published.";
    return [{ code: "acme-no-address", level: "error", fact, remedy }];
  }
  return await Promise.all(addresses.map((address) => inspectAddress(name, address, options, timeout)));
}

/** The addresses of a name; empty if it has none. */
async function lookUp(name: string, { nameServer }: ReachabilityOptions, timeout: number): Promise<string[]> {
  const signal = new AbortController();
  const timer = setTimeout(() => signal.abort(new Error(`no answer within ${timeout / 1000} s`)), timeout);
  const query = async (type: "A" | "AAAA") => {
    try {
      return await Deno.resolveDns(name, type, { signal: signal.signal, ...(nameServer && { nameServer }) });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw signal.signal.aborted ? signal.signal.reason : error;
    }
  };
  try {
    return (await Promise.all([query("A"), query("AAAA")])).flat();
  } finally {
    clearTimeout(timer);
  }
}

async function inspectAddress(
  name: string,
  address: string,
  { respond, port = 80 }: ReachabilityOptions,
  timeout: number,
): Promise<Finding> {
  const where = `${name} (${address}), port ${port}`;
  const token = crypto.getRandomValues(new Uint8Array(16)).toHex();
  const answer = crypto.randomUUID();
  const remove = respond(token, answer);
  try {
    const text = await httpGet(name, address, port, `/.well-known/acme-challenge/${token}`, timeout);
    if (text.includes(answer)) {
      return { code: "acme-reachable", level: "ok", fact: `${where} reaches this service.` };
    }
    const server = /^server: *([\x20-\x7e]{1,60})\r?$/mi.exec(text)?.[1];
    return {
      code: "acme-other-server",
      level: "warning",
      fact: `${where}: another server answers${server === undefined ? "" : ` (${server.trim()})`}.`,
      remedy: address.includes(":")
        ? "An authority tries the IPv6 address first: correct the AAAA record or remove it."
        : "Point the A record to this machine, or make that server forward /.well-known/acme-challenge/ to --acme-http-port.",
    };
  } catch (error) {
    return unreachable(where, address, error);
  } finally {
    remove();
  }
}

function unreachable(where: string, address: string, error: unknown): Finding {
  const family = address.includes(":")
    ? " An authority tries the IPv6 address first: listen on it too (--host ::), or remove the AAAA record."
    : "";
  if (error instanceof DOMException && error.name === "TimeoutError") {
    return {
      code: "acme-timeout",
      level: "warning",
      fact: `${where}: no answer.`,
      remedy: `A firewall drops the packets, or the address is not that of this machine: open the port.${family}`,
    };
  }
  return {
    code: "acme-refused",
    level: "warning",
    fact: `${where}: ${error instanceof Deno.errors.ConnectionRefused ? "connection refused" : messageOf(error)}.`,
    remedy:
      `Nothing listens there: forward the port to --acme-http-port, or point the record to this machine.${family}`,
  };
}

/** A plain HTTP/1.1 request to an address with the name as Host, which `fetch` cannot send. */
async function httpGet(name: string, address: string, port: number, path: string, timeout: number): Promise<string> {
  let connection: Deno.TcpConn | undefined;
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new DOMException("no answer", "TimeoutError")), timeout);
  const opening = Deno.connect({ hostname: address, port });
  // A connection that opens after the timeout is closed.
  let given = false;
  opening.then((opened) => {
    connection = opened;
    if (given) opened.close();
  }, () => {});
  try {
    return await Promise.race([exchange(), late.promise]);
  } finally {
    clearTimeout(timer);
    given = true;
    try {
      connection?.close();
    } catch {
      // It was closed already.
    }
  }

  async function exchange(): Promise<string> {
    const socket = await opening;
    const host = name.includes(":") ? `[${name}]` : name;
    const request = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nAccept: */*\r\n\r\n`;
    await new Blob([request]).stream().pipeTo(socket.writable, { preventClose: true });
    const decoder = new TextDecoder();
    const buffer = new Uint8Array(MAX_RESPONSE_BYTES);
    let text = "";
    while (text.length < MAX_RESPONSE_BYTES) {
      const read = await socket.read(buffer);
      if (read === null) break;
      text += decoder.decode(buffer.subarray(0, read), { stream: true });
    }
    return text;
  }
}
