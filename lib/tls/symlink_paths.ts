/**
 * Where on disk the content of a path can change: the file itself, and every symbolic link on the way to it.
 * @module
 */
import { dirname, join, parse, resolve, sep } from "node:path";

/** What is to be watched for a set of paths. */
export interface WatchPaths {
  /** The folders that hold the places. */
  readonly folders: readonly string[];
  /** The links and files whose change matters, absolute. The folders themselves belong to them. */
  readonly spots: ReadonlySet<string>;
  /** Equal while nothing has been replaced: each folder with its inode and the time it was made. */
  readonly identity: string;
}

/** As many as Linux follows (path_resolution(7)); a loop ends there. */
const MOST_LINKS = 40;

/**
 * Follows each path part by part, as the system does, and notes each link met (certbot: live/x/cert.pem is one into
 * archive/x/; Kubernetes: tls.crt is one into ..data, which is one into a dated folder).
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

/** A folder that is made anew may get the inode of the one before it. */
function identityOf(folder: string): string {
  try {
    const { dev, ino, birthtime } = Deno.statSync(folder);
    return `${dev}:${ino}:${birthtime?.getTime()}`;
  } catch {
    return "missing";
  }
}
