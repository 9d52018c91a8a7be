/**
 * Calls the admin API of a running service, for the commands.
 * @module
 */
import { parseAdminAddress } from "../config/admin_address.ts";
import { messageOf, StartError } from "../errors.ts";
import { formatAddress } from "../net/listener/accept_loop.ts";
import { decodeText } from "../text_file.ts";

/** The admin listener's address, and the credentials for it. */
export interface AdminTarget {
  /** `HOST:PORT`, `PORT` or `unix:PATH`. */
  readonly admin: string;
  /** A file of keys. The first key is sent. */
  readonly adminKeyFile?: string | undefined;
  readonly adminTls: boolean;
  /** An additional CA certificate (PEM) to trust. */
  readonly ca?: string | undefined;
  /** Milliseconds. */
  readonly timeout: number;
}

/**
 * Calls a method and returns its result.
 * @throws {UsageError} if the address is invalid
 * @throws {StartError} if the service does not respond, or responds with an error
 */
export async function callAdmin(target: AdminTarget, method: string, parameters: object): Promise<unknown> {
  const address = parseAdminAddress(target.admin);
  const where = formatAddress(address);
  const headers = new Headers({ "content-type": "application/json" });
  if (target.adminKeyFile !== undefined) headers.set("authorization", `Bearer ${readFirstKey(target.adminKeyFile)}`);
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
      `Cannot reach the service at ${where}: ${messageOf(error)}${cause}; was it started with --admin ${target.admin}?`,
      { cause: error },
    );
  }
  const { result, error } = (reply ?? {}) as { result?: unknown; error?: { message?: unknown } };
  if (result !== undefined) return result;
  throw new StartError(
    `The service at ${where} refused: ${error?.message ?? "the response is not from the admin API"}`,
  );
}

function readFirstKey(file: string): string {
  const key = read(file).split(/\r?\n/).map((line) => line.trimEnd()).find((line) =>
    line !== "" && !line.startsWith("#")
  );
  if (key === undefined) throw new StartError(`${file} contains no key: one key per line is required`);
  return key;
}

function read(file: string): string {
  try {
    return decodeText(Deno.readFileSync(file));
  } catch (error) {
    throw new StartError(`Cannot read ${file}: ${messageOf(error)}`, { cause: error });
  }
}
