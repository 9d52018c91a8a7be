/**
 * The file of a unix socket: stale, live, or something else.
 * @module
 */
import { messageOf, StartError } from "../../errors.ts";

/**
 * Makes way for a unix socket at `path`: removes the file of a service that is gone.
 * @throws {StartError} when a service listens there, or the file is no socket.
 */
export async function clearSocketPath(path: string): Promise<void> {
  const where = `Cannot listen on ${path}: `;
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new StartError(where + messageOf(error), { cause: error });
  }
  if (!info.isSocket) {
    throw new StartError(`${where}there is a file that is no socket; remove it, or give another --unix`);
  }
  try {
    const connection = await Deno.connect({ transport: "unix", path });
    connection.close();
  } catch (error) {
    // Nobody listens behind the file: what a service that was killed leaves behind.
    if (error instanceof Deno.errors.ConnectionRefused) return removeSocket(path, where);
    if (error instanceof Deno.errors.NotFound) return;
    throw new StartError(`${where}there is a socket that cannot be tried (${messageOf(error)})`, { cause: error });
  }
  throw new StartError(`${where}another program listens on it; stop that one, or give another --unix`);
}

function removeSocket(path: string, where: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    throw new StartError(`${where}its stale socket file cannot be removed (${messageOf(error)})`, { cause: error });
  }
}

/**
 * Puts a socket in its place, with its permissions: Deno makes it with what the umask leaves, commonly without the
 * group's right to connect.
 * @returns its inode, to know later whether it still is there
 */
export function moveSocket(from: string, to: string, mode: number): number | null {
  Deno.chmodSync(from, mode);
  Deno.renameSync(from, to);
  return Deno.lstatSync(to).ino;
}

/** Removes the socket's file, unless a successor has put its own there. */
export function removeOwnSocket(path: string, inode: number | null): void {
  try {
    if (inode !== null && Deno.lstatSync(path).ino === inode) Deno.removeSync(path);
  } catch {
    // It has gone already, or may not be removed: the next start replaces it.
  }
}
