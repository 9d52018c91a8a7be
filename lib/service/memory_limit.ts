/**
 * Reads how much memory this process may use.
 * @module
 */

/** The limits of the root of the control groups that this process sees: version 2, and version 1. */
const ROOT_LIMITS = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"] as const;

/**
 * Returns the bytes that this process may use: the memory of the machine, or the lowest limit of its control groups. In a
 * container the limit is that of the root. systemd's `MemoryMax` is the limit of the unit or of a slice above it
 * (cgroups(7), `/proc/self/cgroup`). Undefined without permissions. Never prompts. Deno permits to read the limits only
 * with `--allow-all`.
 * @param folder the folder that contains `proc` and `sys`
 */
export function readMemoryLimit(folder = ""): number | undefined {
  const limits: number[] = [];
  if (isGranted({ name: "sys", kind: "systemMemoryInfo" })) limits.push(Deno.systemMemoryInfo().total);
  for (const path of [...ROOT_LIMITS, ...unitLimits(folder)]) limits.push(Number(readText(folder + path) ?? NaN));
  const known = limits.filter((limit) => limit > 0);
  return known.length > 0 ? Math.min(...known) : undefined;
}

/** The files of the limits of this process's control group and of those above it, without the root. Version 2. */
function unitLimits(folder: string): string[] {
  const path = /^0::\/(.+)$/m.exec(readText(`${folder}/proc/self/cgroup`) ?? "")?.[1];
  const names = path?.split("/") ?? [];
  // A group outside the namespace of this process cannot be read.
  if (names.includes("..")) return [];
  return names.map((_, depth) => `/sys/fs/cgroup/${names.slice(0, depth + 1).join("/")}/memory.max`);
}

/** Reads a file without the line end. Undefined if it does not exist or may not be read. */
function readText(path: string): string | undefined {
  if (!isGranted({ name: "read", path })) return undefined;
  try {
    return Deno.readTextFileSync(path).trimEnd();
  } catch {
    return undefined;
  }
}

function isGranted(permission: Deno.PermissionDescriptor): boolean {
  return Deno.permissions.querySync(permission).state === "granted";
}
