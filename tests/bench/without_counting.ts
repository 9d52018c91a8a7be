/**
 * This service without the code that counts messages for the metrics, to measure what that code costs. The lines are
 * removed from a copy of the source, because a switch in the service itself would add to its message path.
 * @module
 */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const PARTS = ["main.ts", "lib", "deno.json", "deno.lock"] as const;

/** The text that is removed from a file, and its replacement. */
const REMOVED: readonly { readonly file: string; readonly text: string; readonly instead: string }[] = [
  { file: "lib/ws/peer.ts", text: "    this.#shared.counters.receive(bytes);\n", instead: "" },
  {
    file: "lib/ws/peer.ts",
    text: `counters.measured
        ? counters.measure("message", () => app.message?.(this, message))
        : app.message?.(this, message);`,
    instead: "app.message?.(this, message);",
  },
  { file: "lib/ws/send_buffer.ts", text: "    budget.messages++;\n    budget.bytes += bytes;\n", instead: "" },
];

/**
 * Copies the service into a subfolder of the folder, unless the copy exists.
 * @returns the path of the copy's main.ts
 * @throws {Error} if a file does not contain a text to remove exactly once, because the service now counts differently
 */
export async function copyWithoutCounting(folder: string): Promise<string> {
  const copy = join(folder, "without-counting");
  const main = join(copy, "main.ts");
  if (await Deno.stat(copy).then(() => true, () => false)) return main;
  await Deno.mkdir(copy);
  for (const part of PARTS) await cp(join(ROOT, part), join(copy, part), { recursive: true });
  for (const { file, text, instead } of REMOVED) {
    const path = join(copy, file);
    const source = await Deno.readTextFile(path);
    if (source.split(text).length !== 2) {
      throw new Error(
        `Cannot remove the counting from ${file}: the file must contain this text exactly once:\n${text}`,
      );
    }
    await Deno.writeTextFile(path, source.replace(text, () => instead));
  }
  return main;
}
