/**
 * Resolves the paths to watch for changes of a file: the file, and every symbolic link on its path.
 * @module
 */
import { dirname, join, parse, resolve, sep } from "node:path";

/** What to watch for a set of paths. */
export interface WatchPaths {
  /** The folders that contain the links and files. */
  readonly folders: readonly string[];
  /** The absolute paths of the links and files to watch, including the folders themselves. */
  readonly watched: ReadonlySet<string>;
  /** A text that changes when a folder is replaced: each folder with its inode and creation time. */
  readonly identity: string;
}

/** The largest number of links, as on Linux (path_resolution(7)); a loop ends there. */
const MAX_LINKS = 40;

/**
 * Resolves each path part by part, like the system, and records each symbolic link. Examples: certbot links
 * live/x/cert.pem into archive/x/; Kubernetes links tls.crt into ..data, which links into a dated folder.
 */
export function resolveWatchPaths(paths: readonly string[]): WatchPaths {
  const watched = new Set<string>();
  for (const path of paths) followLinks(resolve(path), watched, MAX_LINKS);
  const folders = [...new Set([...watched].map((path) => dirname(path)))].sort();
  const identity = folders.map((folder) => `${folder} ${folderIdentity(folder)}`).join("\n");
  return { folders, watched: new Set([...watched, ...folders]), identity };
}

function followLinks(path: string, watched: Set<string>, linksLeft: number): void {
  const { root } = parse(path);
  const parts = path.slice(root.length).split(sep).filter((part) => part !== "");
  let at = root;
  for (const [index, part] of parts.entries()) {
    at = join(at, part);
    const target = linkTarget(at);
    if (target === undefined) continue;
    watched.add(at);
    if (linksLeft > 0) followLinks(resolve(dirname(at), target, ...parts.slice(index + 1)), watched, linksLeft - 1);
    return;
  }
  watched.add(at);
}

function linkTarget(path: string): string | undefined {
  try {
    return Deno.lstatSync(path).isSymlink ? Deno.readLinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

/** The creation time is part of it, because a new folder may get the inode of the previous one. */
function folderIdentity(folder: string): string {
  try {
    const { dev, ino, birthtime } = Deno.statSync(folder);
    return `${dev}:${ino}:${birthtime?.getTime()}`;
  } catch {
    return "missing";
  }
}
