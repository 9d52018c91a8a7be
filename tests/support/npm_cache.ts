/** Fills a separate cache with the packages that a program needs, so that it downloads nothing. */
import { dirname, join } from "node:path";
import { ROOT } from "./program.ts";

/** The package name in an entry of the import map or of the lock file. */
export function packageOf(entry: string): string {
  return /^(?:npm:)?(@[^/@]+\/[^/@]+|[^/@]+)@/.exec(entry)![1]!;
}

/** The packages and their dependencies. */
function withDependencies(names: Iterable<string>): Set<string> {
  const lock = JSON.parse(Deno.readTextFileSync(join(ROOT, "deno.lock"))) as {
    readonly npm: Readonly<Record<string, { readonly dependencies?: readonly string[] }>>;
  };
  const found = new Set(names);
  for (const name of found) {
    for (const [entry, { dependencies = [] }] of Object.entries(lock.npm)) {
      if (packageOf(entry) === name) { for (const other of dependencies) found.add(packageOf(`${other}@`)); }
    }
  }
  return found;
}

/** Copies packages and their dependencies into a DENO_DIR folder. */
export async function copyPackages(names: Iterable<string>, cache: string): Promise<void> {
  const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"], cwd: ROOT }).output();
  const { npmCache } = JSON.parse(new TextDecoder().decode(stdout)) as { npmCache: string };
  for (const { name: registry } of Deno.readDirSync(npmCache)) {
    for (const name of withDependencies(names)) {
      const copy = join(cache, "npm", registry, name);
      await Deno.mkdir(dirname(copy), { recursive: true });
      // A link does not work: Deno resolves it and then does not find the module under the resolved path.
      await new Deno.Command("cp", { args: ["-R", join(npmCache, registry, name), copy] }).output();
    }
  }
}
