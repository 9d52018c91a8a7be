/**
 * Calls the API of a running service, as the commands do.
 * @module
 */
import { parseAdminAddress } from "../config/admin_address.ts";
import { messageOf, StartError } from "../errors.ts";
import { describe } from "../net/listener/accept_loop.ts";
import { decodeText } from "../text_file.ts";

/** Where the listener is, and how to be let in. */
export interface AdminTarget {
  /** `HOST:PORT`, `PORT` or `unix:PATH`. */
  readonly admin: string;
  /** The first key in it is sent. */
  readonly adminKeyFile?: string | undefined;
  readonly adminTls: boolean;
  /** A further authority, PEM, that its certificate may be of. */
  readonly ca?: string | undefined;
  /** Milliseconds. */
  readonly timeout: number;
}

/**
 * Calls a method; returns its result.
 * @throws {UsageError} the address is none
 * @throws {StartError} nobody answers, or the answer is an error
 */
export async function callAdmin(target: AdminTarget, method: string, parameters: object): Promise<unknown> {
  const address = parseAdminAddress(target.admin);
  const where = describe(address);
  const headers = new Headers({ "content-type": "application/json" });
  if (target.adminKeyFile !== undefined) headers.set("authorization", `Bearer ${firstKey(target.adminKeyFile)}`);
  using client = Deno.createHttpClient({
    ...(target.ca === undefined ? {} : { caCerts: [read(target.ca)] }),
    ...(address.transport === "unix" ? { proxy: { transport: "unix", path: address.path } } : {}),
  });
  const origin = address.transport === "unix" ? "http://localhost" : `${target.adminTls ? "https" : "http"}://${where}`;
  let reply: unknown;
  try {
    const response = await fetch(`${origin}/api/${method}`, {
      method: "POST",
      headers,
      body: JSON.stringify(parameters),
      client,
      signal: AbortSignal.timeout(target.timeout),
    });
    reply = await response.json();
  } catch (error) {
    const cause = error instanceof Error && error.cause !== undefined ? `: ${messageOf(error.cause)}` : "";
    throw new StartError(
      `Cannot ask the service at ${where}: ${messageOf(error)}${cause}; is it started with --admin ${target.admin}?`,
      { cause: error },
    );
  }
  const { result, error } = (reply ?? {}) as { result?: unknown; error?: { message?: unknown } };
  if (result !== undefined) return result;
  throw new StartError(`The service at ${where} refuses: ${error?.message ?? "its answer is none of the admin API"}`);
}

function firstKey(file: string): string {
  const key = read(file).split(/\r?\n/).map((line) => line.trimEnd()).find((line) =>
    line !== "" && !line.startsWith("#")
  );
  if (key === undefined) throw new StartError(`${file} holds no key: one a line is required`);
  return key;
}

function read(file: string): string {
  try {
    return decodeText(Deno.readFileSync(file));
  } catch (error) {
    throw new StartError(`Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
