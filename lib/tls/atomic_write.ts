/**
 * Writes certificate files atomically, and locks their folder so that one process writes at a time.
 * @module
 */
import { join } from "node:path";
import { messageOf } from "../errors.ts";

/**
 * Waits until no other process has the lock of the folder. The system releases the lock when a process ends in any way.
 * On a file system without locks it returns at once.
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  const file = await Deno.open(join(folder, ".lock"), { create: true, write: true, mode: 0o600 });
  try {
    await file.lock(true);
  } catch {
    // A network file system without locks: two processes that start at the same moment may then both write.
  }
  return file;
}

/**
 * Writes a file atomically, with its final mode from the start: writes a new file and renames it over the old one.
 * @throws what `Deno.open` and `Deno.rename` throw; no temporary file is left then
 */
export function writeAtomically(path: string, text: string, mode: number): void {
  const temporary = `${path}.${crypto.randomUUID()}`;
  try {
    Deno.writeTextFileSync(temporary, text, { createNew: true, mode });
    Deno.renameSync(temporary, path);
  } catch (error) {
    try {
      Deno.removeSync(temporary);
    } catch {
      // It was not created.
    }
    throw error;
  }
}

/** Explains why writing to a folder failed, with the remedy. */
export function explainWriteFailure(error: unknown, folder: string): string {
  const instead = "or give your own certificate with --cert and --key, or use --mode proxied";
  if (error instanceof Deno.errors.NotCapable) {
    return `Deno was started without --allow-write=${folder}; give it, ${instead}`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `this user may not write there; start in a folder that this user may write, ${instead}`;
  }
  if (error instanceof Deno.errors.AlreadyExists || error instanceof Deno.errors.NotADirectory) {
    return `a file has that name; move it away, ${instead}`;
  }
  if (messageOf(error).includes("(os error 28)")) return "the disk is full; free some space";
  return `${messageOf(error)}; start in a writable folder, ${instead}`;
}
