/**
 * Finds the places on disk where the content of a path can change: the file, and every symbolic link on the way to it.
 * @module
 */
import { dirname, join, parse, resolve, sep } from "node:path";

/** What to watch for a set of paths. */
export interface WatchPaths {
  /** The folders that contain the links and files. */
  readonly folders: readonly string[];
  /** The absolute paths of the links and files to watch, including the folders themselves. */
  readonly spots: ReadonlySet<string>;
  /** A text that changes when a folder is replaced: each folder with its inode and creation time. */
  readonly identity: string;
}

/** The largest number of links, as on Linux (path_resolution(7)); a loop ends there. */
const MOST_LINKS = 40;

/**
 * Resolves each path part by part, like the system, and records each symbolic link. Examples: certbot links
 * live/x/cert.pem into archive/x/; Kubernetes links tls.crt into ..data, which links into a dated folder.
 */
export function watchPathsOf(paths: readonly string[]): WatchPaths {
  const spots = new Set<string>();
  for (const path of paths) follow(resolve(path), spots, MOST_LINKS);
  const folders = [...new Set([...spots].map((spot) => dirname(spot)))].sort();
  const identity = folders.map((folder) => `${folder} ${identityOf(folder)}`).join("\n");
  return { folders, spots: new Set([...spots, ...folders]), identity };
}

function follow(path: string, spots: Set<string>, linksLeft: number): void {
  const { root } = parse(path);
  const parts = path.slice(root.length).split(sep).filter((part) => part !== "");
  let at = root;
  for (const [index, part] of parts.entries()) {
    at = join(at, part);
    const target = linkTarget(at);
    if (target === undefined) continue;
    spots.add(at);
    if (linksLeft > 0) follow(resolve(dirname(at), target, ...parts.slice(index + 1)), spots, linksLeft - 1);
    return;
  }
  spots.add(at);
}

function linkTarget(path: string): string | undefined {
  try {
    return Deno.lstatSync(path).isSymlink ? Deno.readLinkSync(path) : undefined;
  } catch {
    return undefined;
  }
}

/** The creation time is part of it, because a new folder may get the inode of the previous one. */
function identityOf(folder: string): string {
  try {
    const { dev, ino, birthtime } = Deno.statSync(folder);
    return `${dev}:${ino}:${birthtime?.getTime()}`;
  } catch {
    return "missing";
  }
}
