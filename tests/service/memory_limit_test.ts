import { assertEquals } from "@std/assert";
import { dirname } from "node:path";
import { readMemoryLimit } from "../../lib/service/memory_limit.ts";

const MIB = 1024 ** 2;

/** Reads the limit with files at the paths of the kernel's. */
async function limitOf(files: Readonly<Record<string, string>>): Promise<number | undefined> {
  const folder = await Deno.makeTempDir({ prefix: "wss-cgroup-" });
  try {
    for (const [path, text] of Object.entries(files)) {
      await Deno.mkdir(folder + dirname(path), { recursive: true });
      await Deno.writeTextFile(folder + path, text);
    }
    return readMemoryLimit(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const unit = (path: string) => ({ "/proc/self/cgroup": `0::${path}\n` });
const CGROUP = "/sys/fs/cgroup";

Deno.test("the memory limit is the lowest one on the path of the control group, and never above the machine's memory", async () => {
  const machine = Deno.systemMemoryInfo().total;
  const service = unit("/system.slice/wss.service");
  const slice = `${CGROUP}/system.slice/memory.max`;
  const own = `${CGROUP}/system.slice/wss.service/memory.max`;
  assertEquals(await limitOf({}), machine);
  assertEquals(await limitOf(service), machine);
  // systemd: MemoryMax of the unit, of its slice, of both, and of neither. The root has no file.
  assertEquals(await limitOf({ ...service, [slice]: "max\n", [own]: `${64 * MIB}\n` }), 64 * MIB);
  assertEquals(await limitOf({ ...service, [slice]: `${32 * MIB}\n`, [own]: "max\n" }), 32 * MIB);
  assertEquals(await limitOf({ ...service, [slice]: `${32 * MIB}\n`, [own]: `${64 * MIB}\n` }), 32 * MIB);
  assertEquals(await limitOf({ ...service, [slice]: "max\n", [own]: "max\n" }), machine);
  assertEquals(await limitOf({ ...service, [own]: `${2 * machine}\n` }), machine);
});

Deno.test("the memory limit of a container is that of the root of its control groups", async () => {
  const limit = `${64 * MIB}\n`;
  assertEquals(await limitOf({ ...unit("/"), [`${CGROUP}/memory.max`]: limit }), 64 * MIB);
  // With the namespace of the host, the path does not exist in the container.
  assertEquals(await limitOf({ ...unit("/docker/123"), [`${CGROUP}/memory.max`]: limit }), 64 * MIB);
  assertEquals(await limitOf({ ...unit("/../../other"), [`${CGROUP}/memory.max`]: limit }), 64 * MIB);
  assertEquals(await limitOf({ [`${CGROUP}/memory/memory.limit_in_bytes`]: limit }), 64 * MIB);
});
