/**
 * Creates and removes the file of a unix socket.
 * @module
 */
import { dirname } from "node:path";
import { messageOf, StartError } from "../../errors.ts";

/**
 * Makes `path` available for a unix socket: removes the file that a killed service left.
 * @throws {StartError} if a program listens on it or the file is not a socket
 */
export async function clearSocketPath(path: string): Promise<void> {
  const where = `Cannot listen on ${path}: `;
  if (!assertSocketOrMissing(path)) return;
  try {
    const connection = await Deno.connect({ transport: "unix", path });
    connection.close();
  } catch (error) {
    // No program listens on it: a killed service left the file.
    if (error instanceof Deno.errors.ConnectionRefused) return removeSocket(path, where);
    if (error instanceof Deno.errors.NotFound) return;
    const why = missingPermission(error, path) ?? `connecting to the socket there failed (${messageOf(error)})`;
    throw new StartError(where + why, { cause: error });
  }
  throw new StartError(`${where}another program listens on it; stop that one, or give another --unix`);
}

/**
 * Whether a socket's file exists.
 * @throws {StartError} if the file is not a socket or cannot be examined
 */
export function assertSocketOrMissing(path: string): boolean {
  const where = `Cannot listen on ${path}: `;
  let info: Deno.FileInfo;
  try {
    info = Deno.lstatSync(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw new StartError(where + (missingPermission(error, path) ?? messageOf(error)), { cause: error });
  }
  if (!info.isSocket) {
    throw new StartError(`${where}the file there is not a socket; remove it, or give another --unix`);
  }
  return true;
}

/**
 * Names the flags that a unix socket requires, if the error is a missing permission of Deno. The folder is required because
 * the socket is created beside its path. Deno cannot restrict `--allow-net` to a path that contains the process ID.
 */
export function missingPermission(error: unknown, path: string): string | undefined {
  if (!(error instanceof Deno.errors.NotCapable)) return undefined;
  const folder = dirname(path);
  return `Deno has no permission; add --allow-net --allow-read=${folder} --allow-write=${folder}`;
}

function removeSocket(path: string, where: string): void {
  try {
    Deno.removeSync(path);
  } catch (error) {
    const why = missingPermission(error, path) ?? `its stale socket file cannot be removed (${messageOf(error)})`;
    throw new StartError(where + why, { cause: error });
  }
}

/**
 * Sets the permissions of a socket file and moves it to its path. Deno creates it with the permissions of the umask,
 * with which the group usually may not connect.
 * @returns the inode, for `removeOwnSocket`
 */
export function moveSocket(from: string, to: string, mode: number): number | null {
  Deno.chmodSync(from, mode);
  Deno.renameSync(from, to);
  return Deno.lstatSync(to).ino;
}

/** Whether the file at the path is the socket that `moveSocket` moved there. */
export function isOwnSocket(path: string, inode: number | null): boolean {
  try {
    return inode !== null && Deno.lstatSync(path).ino === inode;
  } catch {
    return false;
  }
}

/** Removes the socket's file, unless it was replaced by that of a successor. */
export function removeOwnSocket(path: string, inode: number | null): void {
  try {
    if (isOwnSocket(path, inode)) Deno.removeSync(path);
  } catch {
    // It is gone already or may not be removed: the next start replaces it.
  }
}
