/**
 * Writing into the folder of the development material: one process at a time, each file whole or not at all.
 * @module
 */
import { join } from "node:path";
import { messageOf } from "../errors.ts";

/**
 * Waits until no other process writes in the folder. The system gives the lock back when a process ends, however it
 * does. Where the file system knows no locks, it is had at once.
 */
export async function lockFolder(folder: string): Promise<Disposable> {
  const file = await Deno.open(join(folder, ".lock"), { create: true, write: true, mode: 0o600 });
  try {
    await file.lock(true);
  } catch {
    // A network file system without locks: two first starts at the same moment are then two writers, as before.
  }
  return file;
}

/**
 * Writes a file whole or not at all, with its mode from the first instant: to a new name, then over the old one.
 * @throws what `Deno.open` and `Deno.rename` throw; nothing is left behind then.
 */
export function writeAtomically(path: string, text: string, mode: number): void {
  const passing = `${path}.${crypto.randomUUID()}`;
  try {
    Deno.writeTextFileSync(passing, text, { createNew: true, mode });
    Deno.renameSync(passing, path);
  } catch (error) {
    try {
      Deno.removeSync(passing);
    } catch {
      // It was never made.
    }
    throw error;
  }
}

/** Why a folder could not be written, and what to do. */
export function writeReason(error: unknown, folder: string): string {
  const instead = "or give a certificate of yours with --cert and --key, or use --mode proxied";
  if (error instanceof Deno.errors.NotCapable) {
    return `Deno was started without --allow-write=${folder}; give it, ${instead}`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    return `this user may not write there; start in a folder of yours (or make that one yours), ${instead}`;
  }
  if (error instanceof Deno.errors.AlreadyExists || error instanceof Deno.errors.NotADirectory) {
    return `a file has that name; move it away, ${instead}`;
  }
  return `${messageOf(error)}; start in a folder that can be written, ${instead}`;
}
